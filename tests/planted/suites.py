"""Suites, published values, data and citations: what a reader of a file could let pass, or a download leave behind."""

from planted import Fault

READING, PUBLISHED, GETTING = "inarch/suites/reading.py", "inarch/suites/published/__init__.py", "inarch/suites/getting.py"
TESTS = "tests/test_suites.py"
FAULTS = [
    Fault("a suite's data may lie outside the root", READING, 'if ".." in re.split', 'if False and ".." in re.split',
          f"{TESTS} -k wrong_in_a_file"),
    Fault("the settings of a method are not tried as a recipe", READING, '        if ":" not in method:\n', "        if False:\n",
          f"{TESTS} -k wrong_in_a_file"),
    Fault("a task's own recipe is lost", "inarch/suites/suite.py", "**own, **task.recipe,", "**own,", f"{TESTS} -k ones_own"),
    Fault("a reconstruction takes its paper's line", PUBLISHED, '.kind == "reconstruction"', '.kind == "golden?"',
          "tests/test_suites_published.py -k reconstruction"),
    Fault("a value went astray", "inarch/suites/published/vtab-1k.toml", "svhn = 91.9\n", "svhn = 19.9\n",
          "tests/test_suites_published.py -k printed_means"),
    Fault("half a download is left", GETTING, "        shutil.rmtree(folder, ignore_errors=True)\n", "        pass\n",
          "tests/test_data_get.py -k half_way"),
    Fault("an image of VPT's split may be of two parts", "inarch/data/readers/fgvc.py", "problems=problems + _shared(root, parts)",
          "problems=problems", "tests/test_suites_fixtures.py -k vpts_split_is_named"),
    Fault("a method is cited with another's paper", "inarch/suites/citing.py", "{*words} & {*names}", "{*words} - {*names}",
          "tests/test_cite.py -k entries_of_the_methods"),
]
