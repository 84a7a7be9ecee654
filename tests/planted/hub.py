"""The hub: what a push could send, bury or leave half done, and what a fetch could believe."""

from planted import Fault

PUSH, FETCH, PARCEL, WAYS = "inarch/hub/pushing.py", "inarch/hub/fetching.py", "inarch/hub/parcel.py", "inarch/hub/ways.py"
TESTS, FETCHED, CARDS, RUNS = (f"tests/test_hub_{part}.py" for part in ("push", "fetch", "card", "runs"))
FAULTS = [
    Fault("everything in the folder is sent", PARCEL, "for name in also for path", "for name in there for path",
          f"{TESTS} -k nothing_else"),
    Fault("a private push to a public repository goes on", PUSH, "if private and not standing.private", "if False", f"{TESTS} -k private"),
    Fault("a push buries another", PUSH, "parent_commit=standing.sha", "parent_commit=None", f"{TESTS} -k bury"),
    Fault("old weights stay", PUSH, "*map(CommitOperationDelete, stale)", "*map(CommitOperationDelete, [])", f"{TESTS} -k replaces"),
    Fault("what others wrote goes", PUSH, "if _ours(name) and name", "if name", f"{TESTS} -k replaces"),
    Fault("a folder is written over itself", PUSH, "if a == b or a in b.parents or b in a.parents", "if False",
          f"{TESTS} -k would_be_sent"),
    Fault("weights are sent unverified", PARCEL, "files.read_sealed(path, size=card[\"bytes\"], digest=card[\"sha256\"])",
          "files.read(path)", f"{TESTS} -k does_not_load"),
    Fault("a blob is believed", FETCH, "if blob != link and", "if False and", f"{FETCHED} -k on_the_way"),
    Fault("a copy is believed", FETCH, "and files.read(path) == data", "", f"{FETCHED} -k mended"),
    Fault("other files are fetched too", FETCH, "allow_patterns=names, ", "", f"{FETCHED} -k only_the_files"),
    Fault("LoRA is offered for what is not linear", WAYS, "linear_of(rebuilt.net.model, container_of(rebuilt.net.model))", "pass",
          f"{CARDS} -m long -k 'runs_card_runs and vlpet'"),
    Fault("a run in training is sent", PARCEL, "with locked(folder):", "with contextlib.nullcontext():", f"{RUNS} -m long -k unfinished"),
]
