"""The parts of a training run: order of the data, one update, what is kept of it, and who may interrupt it."""
