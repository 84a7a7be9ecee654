"""Guards that the fuzz campaign and the peers' cases found wanting, or would."""

from planted import Fault

GENERATIONS, STATE, CARD = "inarch/training/generations.py", "inarch/training/state.py", "inarch/card.py"
FUZZ, PEERS = "tests/faults/test_a_fuzz.py", "tests/faults/test_a_peers.py"
FAULTS = [
    Fault("a manifest need not be the one of its files", GENERATIONS, "if _manifest(contents) != manifest:", "if False:",
          f"{FUZZ} -k 'manifest and format'"),
    Fault("a manifest may leave a file out", GENERATIONS, "if strange := sorted(", "if strange := False and sorted(",
          f"{FUZZ} -k optimizer"),
    Fault("integers are restored as values", STATE, "return {name: (value.shape, value.dtype) for", "return {name: (value.shape, 0) for",
          f"{FUZZ} -k trained"),
    Fault("moments may be missing or of nothing", STATE, "    _check_moments(moments, trained, found.number)\n", "", f"{FUZZ} -k moment"),
    Fault("a state's numbers may be texts", STATE, "            _check_numbers(record)", "            pass", f"{FUZZ} -k updates"),
    Fault("the fields of a resealed card go unchecked", CARD, "    check(card, path)\n", "", f"{FUZZ} -k anything"),
    Fault("half a character is read", "inarch/strict_json.py", 'if b"\\\\u" in data:', "if False:", f"{FUZZ} -k character"),
    Fault("a head of any size is built", "inarch/fit.py", "except (ConfigError, ArithmeticError, RuntimeError, TypeError)",
          "except ConfigError", f"{FUZZ} -k anything"),
    Fault("values are not looked at", "inarch/files.py", "        if not finite(tensor):", "        if False:", f"{PEERS} -k 'NaN'"),
    Fault("what is thawed is not compared", "inarch/fit.py",
          "if {name for name in chosen if not name.startswith(heads)} != set(thawed.values()):", "if False:", f"{FUZZ} -k thaws"),
]
