"""The long campaigns, ``python tests/campaign``: fuzzed checkpoints, kills, resumed runs, and the peers' 33 cases side by side."""
