"""The site and the notebooks: what would let a page break, a name go unsaid or a machine be named without anybody noticing."""

from planted import Fault

HOOK, RUNNER, TESTS, NOTEBOOKS = "scripts/docs_site.py", "scripts/run_notebooks.py", "tests/test_docs_site.py", "tests/test_notebooks.py"
FAULTS = [
    Fault("a public name is missing in the reference", "docs/api/core.md", "::: inarch.unmerge\n", "", f"{TESTS} -k every_public_name"),
    Fault("a fence keeps its word to the tests", HOOK, r'FOR_TESTS.sub(r"\1", markdown)', "markdown",
          f"{TESTS} -k links_of_the_repository"),
    Fault("links in code are changed too", HOOK, "    parts[::2] = [", "    parts[:] = [", f"{TESTS} -k links_of_the_repository"),
    Fault("a README becomes the index of its section", HOOK, 'if path.name == "README.md" and', 'if path.name == "no.md" and',
          f"{TESTS} -k links_of_the_repository"),
    Fault("a drawing is not what its script draws", "scripts/docs_figures.py", '"$W$", narrows=True', '"$W$", narrows=False',
          f"{TESTS} -k what_the_script_draws"),
    Fault("a notebook keeps what was said on stderr", RUNNER, 'if output.get("name") != "stderr"', "", f"{NOTEBOOKS} -k of_this_machine"),
    Fault("a path of this machine stays in an output", RUNNER, "if len(trace) > 1 and trace in said:", "if False:",
          f"{NOTEBOOKS} -k of_this_machine"),
]
