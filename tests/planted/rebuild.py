"""A norm's output made again: where it must not be, and what the node's backward owes."""

from planted import Fault

NODE, TESTS, THIN = "inarch/methods/arc_node.py", "tests/test_rebuild.py", "tests/test_thin.py"
FAULTS = [
    Fault("the node's backward forgets the re-scaling", NODE, "(g_mixed * scale, (g_mixed * down).sum(0))",
          "(g_mixed, (g_mixed * down).sum(0))", f"{TESTS} -k 'gradcheck or plain_form'"),
    Fault("the node's backward forgets what was dropped", NODE, "g_z = g_z if keep is None else", "g_z = g_z if True else",
          f"{TESTS} -k gradcheck"),
    Fault("an edited norm output is rebuilt without the edit", "inarch/joint.py", "span.norm).register_forward_hook(self, prepend=True)",
          "span.norm).register_forward_hook(self)", f"{TESTS} -k another_adapters"),
    Fault("an edited output passes for the norm's", "inarch/rebuild.py", " and source.left is x", "",
          f"{TESTS} -k another_adapters"),
    Fault("windows pass for the norm's output", "inarch/ports.py", "return self.residual is not None or self.enter == Port",
          "return True or self.enter == Port", f"{TESTS} -k stands"),
    Fault("the node keeps a copy of what the norm keeps", NODE, "save_for_backward(entered,", "save_for_backward(entered + 0,",
          f"{TESTS} -k floor"),
    Fault("a source outlives its span", "inarch/joint.py", "self.entered = self.carried = self.residual = self.source = self.stream",
          "self.entered = self.carried = self.residual = self.stream", f"{TESTS} -k stays_on_the_joints"),
    Fault("AdaRing keeps what it could make again", "inarch/methods/ring_node.py", "sources=(source,))",
          "sources=())", f"{TESTS} -k nothing_of_its_own"),
    Fault("a projection that trains passes for a frozen one", "inarch/joint.py",
          "and not any(p.requires_grad for p in module.parameters())", "", f"{THIN} -k that_trains"),
    Fault("what leaves an MLP is made again from four times as much", "inarch/wiring.py", "and weight.shape[0] == weight.shape[1]", "",
          f"{THIN} -k leaves_attention"),
    Fault("gates keep the stream that a norm has left", "inarch/joint.py", "self.residual, self.stream = x, self.trail.of(x)",
          "self.residual, self.stream = x, None", f"{THIN} -k nothing_of_its_own"),
    Fault("a node keeps what it could make again", "inarch/rebuild.py", "[x if x is None or source is None else source.entered for",
          "[x for", f"{THIN} -k 'plain_form or nothing_of_its_own'"),
    Fault("what was widened is no longer known", "inarch/joint.py", "wrote = maker(self.wrote, y)", "wrote = None",
          "tests/test_narrow.py -k widened_is_still_known"),
    Fault("an edited projection is made again without the edit", "inarch/joint.py", "wrote = maker(self.wrote, y)", "wrote = self.wrote",
          f"{THIN} -k edit_of_the_projection"),
    Fault("a block that runs again keeps what only its first run knew", "inarch/joint.py", "found is None or checkpointed()",
          "found is None", "tests/test_recompute.py -k every_library"),
]
