"""Guards of adapter files: what is read, what it is compared with, what is written."""

from planted import Fault

FILES, CARD, CHECKPOINT, FINGERPRINT = (f"inarch/{name}.py" for name in ("files", "card", "checkpoint", "fingerprint"))
TESTS = "tests/test_checkpoint.py"

FAULTS = [
    Fault("a damaged file is loaded", FILES, "if len(data) != size or sha256(data) != digest:", "if False:", f"{TESTS} -k do_not_mix"),
    Fault("a changed card is taken", CARD,
          "if seal is None or files.sha256(", "if seal is None or False and files.sha256(", f"{TESTS} -k change_of_the_card"),
    Fault("a card is remembered by its path", CARD, "_verify(data, path, check_format)\n    card",
          "_verify(unsealed.__dict__.setdefault(path, data), path, check_format)\n    card", f"{TESTS} -k compared_and_not_trusted"),
    Fault("a header is remembered without the bytes behind it", FILES, "if end != rest:", "if False:",
          f"{TESTS} -k compared_and_not_trusted"),
    Fault("another backbone passes", FINGERPRINT, "if stored[width] == found[width]:", "if True:", f"{TESTS} -k another_backbone"),
    Fault("values that are not finite pass", FILES, "if not finite(tensor):", "if False:", f"{TESTS} -k right_digests"),
    Fault("tensors too many pass", FILES, '("unexpected", found.keys() - expected.keys())', '("unexpected", set())',
          f"{TESTS} -k right_digests"),
    Fault("any size is read", FILES, "if status.st_size != size or size > most:", "if status.st_size != size:", f"{TESTS} -k huge"),
    Fault("a card names a file elsewhere", CARD, 'or not _WEIGHTS.fullmatch(card["weights"]):', "or False:",
          f"{TESTS} -k another_configuration"),
    Fault("hard links are followed", FILES, "if status.st_nlink > 1:", "if False:", f"{TESTS} -k links"),
    Fault("a later format is guessed at", CARD, "if type(number) is int and number > FORMAT:", "if False:",
          f"{TESTS} -k another_configuration"),
    Fault("a fingerprint is remembered by the model", FINGERPRINT, "if seen == samples:", "if True:",
          "tests/test_fingerprint.py -k noticed"),
    Fault("two models that tie other tensors pass for one structure", "inarch/structure.py", "else places[id(tensor)] for", "else 0 for",
          "tests/test_structure.py -k tied"),
    Fault("fp16 passes for bf16 in silence", "inarch/fit.py", "if verdict.note:", "if False:", "tests/test_fingerprint.py -k source"),
    Fault("another configuration is overwritten", CHECKPOINT, "    if not same:\n", "    if False:\n", f"{TESTS} -k same_configuration"),
]
