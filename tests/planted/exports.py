"""Exports: what an ordinary LoRA folder, a torch program or an ONNX graph could get wrong."""

from planted import Fault

LOW, LORA, GRAPH = "inarch/exports/low_rank.py", "inarch/exports/lora.py", "inarch/exports/graph.py"
TESTS, PROGRAMS = "tests/test_exports_lora.py", "tests/test_exports_graph.py"
FAULTS = [
    Fault("the bias of lora_B is left out", LORA, "if factor.shift is None else factor.shift", "if True else factor.shift",
          f"{TESTS} -k 'how_near and vit-arc'"),
    Fault("a part of a fused matrix goes to its first rows", LOW, "padded[part.rows] = part.up", "padded[: len(part.up)] = part.up",
          f"{TESTS} -k fused"),
    Fault("lora_alpha is not r", LORA, "lora_alpha=usual,", "lora_alpha=1,", f"{TESTS} -k 'how_near and vit-arc'"),
    Fault("layers of another rank get the usual one", LORA, "rank_pattern=others, alpha_pattern=others", "rank_pattern={}",
          f"{TESTS} -k 'how_near and timm-lora'"),
    Fault("what peft loads is not compared", LORA, "not apart <= TOLERANCE", "not apart <= 1e9 + TOLERANCE", f"{TESTS} -k refusal_writes"),
    Fault("a weight that is read directly is wrapped", LOW, "or not all(part.weight.called for part in parts)", "", f"{TESTS} -k beit"),
    Fault("a trained bias of an adapted layer is lost", LOW, "factors[owner] = factors[owner].shifted(moved)", "pass",
          f"{TESTS} -k trained_bias"),
    Fault("names that end alike are taken for each other", LORA, "if mistaken else paths", "if False else paths", f"{TESTS} -k told_apart"),
    Fault("a resized backbone is named as if it were not", "inarch/exports/stock.py", "if named is not None and _same(base,",
          "if named is not None or _same(base,", f"{TESTS} -k resized"),
    Fault("a program is not compared", GRAPH, "if not apart <= TOLERANCE", "if not apart <= 1e9", f"{PROGRAMS} -k something_else"),
    Fault("a program for two images only", GRAPH, "(pixels,), dynamic_shapes=({0: torch.export.Dim(\"batch\")},)), file)",
          "(pixels,)), file)", f"{PROGRAMS} -k 'torch_program and arc-vit'"),
    Fault("onnx begins without its packages", GRAPH, "        needed(package, to)\n", "        pass\n", f"{PROGRAMS} -k names_the_extra"),
]
