"""What a user hands over, believed: recipes, tables, folders, pictures, loader processes."""

from planted import Fault

RUNS_OUT = '        if "DataLoader worker (pid" not in str(error):\n            raise\n'
CHECK, LOAD = "            _check_size(image.size, max_pixels)\n", "            image.load()\n"
FAULTS = [
    Fault("an unknown key of a method is dropped", "inarch/adapter.py", "        for key in fields.keys() - known:\n            raise",
          "        for key in ():\n            raise", "tests/faults/test_b_methods.py -k typos"),
    Fault("layers are not judged until there is a backbone", "inarch/adapter.py", "        check_layers(self.layers)\n", "",
          "tests/faults/test_b_methods.py -k 'ranges and arc'"),
    Fault("a key may have thousands of parts", "inarch/toml.py", "        _refuse_deep(text)\n", "",
          "tests/faults/test_b_files.py -k 'thirty'"),
    Fault("YAML is taken for data", "inarch/cli/train.py", '(".toml", ".yaml", ".yml")', '(".toml",)',
          "tests/faults/test_b_files.py -k 'yaml and plain'"),
    Fault("what cannot be stored is trained with", "inarch/recipe_rules.py", 'if "\\0" in text or', "if False and",
          "tests/test_recipe.py -k could_not_be_stored"),
    Fault("datasets tries again for 20 seconds", "inarch/data/readers/hub.py", "datasets.config.HF_HUB_OFFLINE = before or offline",
          "offline = False", "tests/faults/test_b_hub.py -k blocked"),
    Fault("pixels are decoded before they are counted", "inarch/data/images.py", CHECK + LOAD, LOAD + CHECK,
          "tests/test_data_images.py -k bombs"),
    Fault("EXIF is ignored", "inarch/data/images.py", "return image if turn is None else image.transpose(turn)", "return image",
          "tests/faults/test_c_pictures.py"),
    Fault("a class of val may number the classes", "inarch/data/draft.py", 'for labels in self.parts["train"].labels',
          "for part in self.parts.values() for labels in part.labels", "tests/faults/test_c_folder.py -k 'only and val'"),
    Fault("links are followed anywhere", "inarch/data/readers/folder.py", "if not path.is_symlink() or target.is_relative_to(self.real):",
          "if True:", "tests/faults/test_c_folder.py -k 'leaves and folder'"),
    Fault("bad images are skipped without a limit", "inarch/data/load.py", "    if len(bad) > MAX_BAD_SHARE * total:", "    if False:",
          "tests/test_data_splits.py -k limit"),
    Fault("a loader's death is torch's affair", "inarch/data/imageset.py", RUNS_OUT, "        raise\n",
          "tests/test_data_imageset.py -k dies"),
    Fault("a loader's traceback is the message", "inarch/data/imageset.py", "            raise _from_worker(error) from error",
          "            raise", "tests/test_data_imageset.py -k 'goes_bad or fails'"),
]
