"""PEFT's own methods as runs: what could train, fold, change or be loaded without anybody noticing."""

from planted import Fault

PLANTED, HOSTED = "inarch/peft/planted.py", "inarch/peft/hosted.py"
TESTS = "tests/test_peft_guests.py"
FAULTS = [
    Fault("the head stays frozen beside PEFT's layers", HOSTED, "            there[name].requires_grad_(True)", "            pass",
          f"{TESTS} -k 'what_trains and lora'"),
    Fault("an init that rewrites the frozen weights passes", PLANTED, "        _refuse_rewritten(model, kept)\n", "",
          f"{TESTS} -k refusal_leaves"),
    Fault("layers that PEFT had placed before it failed stay", PLANTED, "        _put_back(model, before)\n        for parameter, value",
          "        for parameter, value", f"{TESTS} -k refusal_leaves"),
    Fault("PEFT draws from the caller's random numbers", HOSTED, "            with seeded(seed):\n", "            if seed is not None:\n",
          f"{TESTS} -k fresh_values"),
    Fault("PEFT's dropout never acts", PLANTED, "                    child.train(mode)", "                    child.train(False)",
          f"{TESTS} -k learn_while"),
    Fault("a merge passes over PEFT's numbers", "inarch/fold_plan.py", "        scion.refuse_foreign(CannotFold)", "        pass",
          f"{TESTS} -k 'half_of_it and merge'"),
    Fault("tensors that PEFT does not know are passed over", HOSTED, "    _refuse_other(values, _values(model, held), path)\n", "",
          f"{TESTS} -k withdrawn"),
    Fault("PEFT's configuration file is not held against the card", "inarch/peft/folder.py", 'digest=told["sha256"])',
          "digest=files.sha256((folder / name).read_bytes()))", f"{TESTS} -k 'damaged and flip'"),
]
