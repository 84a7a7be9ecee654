"""Comparisons: what a table, its tests or its page could tell wrongly."""

from planted import Fault

PAGE, PAIRED = "tests/test_compare_page.py", "tests/test_paired.py"
FAULTS = [
    Fault("the mean leaves failed seeds out", "inarch/reporting/rows.py", "return [None] * len(self.failed)", "return []",
          f"{PAGE} -k takes_the_mean_with_it"),
    Fault("a changed result is read", "inarch/seal.py", "    check_seal(fields, path)\n    return fields", "    return fields",
          f"{PAGE} -k changed_after"),
    Fault("a trial is a run like others", "inarch/reporting/trials.py", "if not result.trial]\n    if finished", "]\n    if finished",
          f"{PAGE} -k 'no_rows or never_takes'"),
    Fault("one-sided p for a two-sided test", "inarch/reporting/paired.py", "tail(mean / error, n - 1) if",
          "tail(mean / error, n - 1) / 2 if", f"{PAIRED} -k paired_t_test"),
    Fault("rows of two protocols meet", "inarch/reporting/contests.py", "row.first.part, protocol]", "row.first.part]",
          "tests/test_compare_contests.py -k protocol"),
    Fault("scores on the way make another run", "inarch/study/jobs.py", "decides |= ASKED | {", "decides |= {",
          "tests/test_study.py -k key_is_of"),
    Fault("data that is not there is trained on", "inarch/study/runner.py", "if task.name not in lost)", ")",
          "tests/test_study_crews.py -k left_out_by_name"),
    Fault("what a run took before counts against what it took now", "inarch/study/runner.py", " and outcome.job.key in whole:", ":",
          "tests/test_study_crews.py -k did_whole"),
    Fault("an epoch of before shows what a job holds", "inarch/study/local.py", "<= first.epochs:", "< 1:",
          "tests/test_study_crews.py -k first_job"),
    Fault("another method's run is gone on with", "inarch/study/work.py",
          " and stored.method_config() == job.recipe.method_config()", "", "tests/test_study_crews.py -k gone_on_with"),
    Fault("a recipe loses that a field was to be None", "inarch/recipe.py", "NULL if value is None and filled.get(key) is not None else",
          "value if True else", "tests/test_recipe_kept.py -k stay_all"),
    Fault("a comparison of failures is a success", "inarch/cli/compare.py", "if not runs and not found.rows:", "if False:",
          "tests/test_study_crews.py -k nothing_finished"),
    Fault("a recipe on the page loses that a field was to be None", "inarch/reporting/compared.py", ".spelled())", ".model_dump())",
          f"{PAGE} -k same_run_again"),
    Fault("images that were held back count as learned from", "inarch/auto/run.py", 'return Workload(counts["train"] - test - val, ',
          'return Workload(counts["train"], ', "tests/test_auto.py -k held_back"),
    Fault("an update of a few images stands for one of a run", "inarch/auto/decide.py", "(pixels[:WARM], pixels, pixels)",
          "(pixels[:WARM],) * 3", "tests/test_auto.py -k as_many_images"),
    Fault("LaTeX obeys a name", "inarch/reporting/latex.py", '"$": r"\\$", ', "", "tests/test_compare_files.py -k obeys_none"),
]
