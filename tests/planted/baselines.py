"""Vision baselines, the places that they needed, and methods of other packages."""

from planted import Fault

GOLDEN, LAWS, PLUGINS = "tests/test_vision_baselines.py", "tests/test_laws.py", "tests/test_plugins.py"
FAULTS = [
    Fault("AdaptFormer reads what the norm leaves", "inarch/methods/adaptformer.py", '    reads = "residual"\n', "",
          f"{GOLDEN} -k test_adaptformer"),
    Fault("AdaptFormer forgets its scale", "inarch/methods/adaptformer.py", "self.up_bias[i]) * self.scale", "self.up_bias[i])",
          f"{GOLDEN} -k test_adaptformer"),
    Fault("RepAdapter folds without its inner bias", "inarch/methods/repadapter.py",
          "self.down_bias[i] @ up + self.up_bias[i] * self.scale)", "self.up_bias[i] * self.scale)",
          f"{LAWS} -k 'merge and hf-vit-repadapter'"),
    Fault("VPT's tokens stay behind the last block", "inarch/methods/vpt.py", "if self.deep or i == self.last else y",
          "if self.deep else y", f"{GOLDEN} -k 'test_vpt and shallow'"),
    Fault("a bias is not rescaled with its rows", "inarch/fold_plan.py", "+ (0 if bias is None else bias * more)", "",
          f"{LAWS} -k 'merge and timm-vit-ssf'"),
    Fault("deep prompts take the first layer's", "inarch/methods/vpt.py", "self.vectors[i].expand", "self.vectors[0].expand",
          f"{GOLDEN} -k 'test_vpt and deep'"),
    Fault("a text tower takes prompts", "inarch/rows.py", 'residual=None, tower="vision"),\n', "residual=None),\n", f"{LAWS} -k refusals"),
    Fault("the ends of a tower are left behind", "inarch/anatomy.py", "{b.tower, b.row.feeds} & {*towers}", "b.tower in towers",
          f"{GOLDEN} -k ends_belong"),
    Fault("a convolution's channels are taken for its columns", "inarch/rows.py", '_made_by("patches", patches, axis=1)',
          '_made_by("patches", patches)', f"{GOLDEN} -k test_ssf"),
    Fault("a file's word is imported", "inarch/methods/registry.py", "    if module not in sys.modules:\n",
          "    import_module(module)\n    if module not in sys.modules:\n", f"{PLUGINS} -k typed_address"),
    Fault("a law forgets what a merge must equal", "inarch/testing/laws.py", "hold(apart < TOLERANCE,", "hold(True,",
          f"{PLUGINS} -k 'told_which and merge'"),
    Fault("Pfeiffer sits behind attention too", "inarch/methods/bottleneck.py", '"spans": ("mlp",), "activation": "relu"',
          '"activation": "relu"', f"{GOLDEN} -k houlsby_and_pfeiffer"),
]
