"""Numbers, merging, export, the command line and its surroundings: rows D, F and I."""

from planted import Fault

NUMERICS, EXPORT = "tests/faults/test_d_numerics.py", "tests/faults/test_f_export.py"
UPDATE = "inarch/training/update.py"
FAULTS = [
    Fault("a loss that is not finite is learned from", UPDATE,
          "if not overflowed and not (math.isfinite(loss) and math.isfinite(norm)):", "if False:", f"{NUMERICS} -k 'loss_that_is_not'"),
    Fault("a gradient that is not finite is learned from", UPDATE,
          "if not overflowed and not (math.isfinite(loss) and math.isfinite(norm)):", "if not math.isfinite(loss):",
          f"{NUMERICS} -k passed_over"),
    Fault("the clip spreads NaN over every tensor", UPDATE, "if torch.isfinite(norm):", "if True:", f"{NUMERICS} -k gradient_that_is_not"),
    Fault("updates are passed over without end", UPDATE, "self.spare -= 1", "pass", f"{NUMERICS} -k limit_of_what"),
    Fault("a resumed run may pass over as many again", "inarch/training/loop.py", "self.updater.spare -= self.state.nonfinite", "pass",
          f"{NUMERICS} -k limit_of_what"),
    Fault("batch norms of the base go on counting", "inarch/training/loop.py", "if isinstance(module, nn.modules.batchnorm._BatchNorm):",
          "if False:", f"{NUMERICS} -k batch_norms"),
    Fault("the node draws what to drop and drops nothing", "inarch/methods/ring_node.py", "(n, into, down, bias, up, out, keep), sources",
          "(n, into, down, bias, up, out, None), sources", "tests/test_ring_node.py -k drawn_bytes"),
    Fault("half precision overflows in a merge", "inarch/fold_plan.py", "torch.isfinite(value.to(stored_type(self.model, path)))",
          "torch.isfinite(value)", "tests/test_merge.py -k half_precision"),
    Fault("a quantised weight is merged", "inarch/fold_plan.py", "if kind := packed(original):", "if False:", "tests/test_packed.py"),
    Fault("a packed weight's shape passes for its matrix's", "inarch/anatomy.py", "if isinstance(owner, nn.Linear) else", "if False else",
          "tests/test_packed.py"),
    Fault("a merged model is merged again", "inarch/merging.py", "    if MERGED in model.__dict__:\n", "    if False:\n",
          "tests/test_merge.py -k kept_apart"),
    Fault("an export removes the old one before the new has its name", "inarch/export.py", "        if not _exchanged(draft, out):\n",
          "        if True:\n", f"{EXPORT} -k kill_at_any"),
    Fault("an export is written where it shall stand", "inarch/export.py",
          'draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")',
          "shutil.rmtree(out, ignore_errors=True)\n    draft = out", f"{EXPORT} -k room"),
    Fault("a missing torchvision is called broken", "inarch/backbones/torchvision.py", 'if error.name != "torchvision":', "if True:",
          "tests/faults/test_i_environment.py -k absent"),
    Fault("what nobody reads is flushed at the end", "inarch/cli/__init__.py", "return _flushed(run(", "return (run(",
          "tests/test_cli_basics.py -k closed_pipe"),
    Fault("a class name ends the run in an ASCII locale", "inarch/cli/__init__.py", "    _show_all()\n", "",
          "tests/test_cli_basics.py -k without_a_code"),
    Fault("SIGTERM ends as Ctrl-C does", "inarch/training/interrupt.py", "return Interrupted(128 + self.caught)", "return Interrupted(130)",
          "tests/test_cli_codes.py -k signal"),
    Fault("the scan does not follow a name", "tests/foreign_code.py", "return names.get(root, root) + dot + rest",
          "return root + dot + rest",
          "tests/test_project.py -k scan_sees"),
]
