"""A norm's output made again: where it must not be, and what the node's backward owes."""

from planted import Fault

NODE, TESTS = "inarch/methods/arc_node.py", "tests/test_rebuild.py"
FAULTS = [
    Fault("the node's backward forgets the re-scaling", NODE, "(g_mixed * scale, (g_mixed * down).sum(0))",
          "(g_mixed, (g_mixed * down).sum(0))", f"{TESTS} -k 'gradcheck or plain_form'"),
    Fault("the node's backward forgets what was dropped", NODE, "g_z = g_z if keep is None else", "g_z = g_z if True else",
          f"{TESTS} -k gradcheck"),
    Fault("an edited norm output is rebuilt without the edit", "inarch/joint.py", "register_forward_hook(self, prepend=True)",
          "register_forward_hook(self)", f"{TESTS} -k another_adapters"),
    Fault("an edited output passes for the norm's", "inarch/rebuild.py", "return x is self.left", "return True",
          f"{TESTS} -k another_adapters"),
    Fault("windows pass for the norm's output", "inarch/ports.py", "return self.residual is not None or self.enter == Port",
          "return True or self.enter == Port", f"{TESTS} -k stands"),
    Fault("the node keeps a copy of what the norm keeps", NODE, "save_for_backward(entered,", "save_for_backward(entered + 0,",
          f"{TESTS} -k floor"),
    Fault("a source outlives its span", "inarch/joint.py", "self.entered = self.carried = self.residual = self.source = None",
          "self.entered = self.carried = self.residual = None", f"{TESTS} -k stays_on_the_joints"),
    Fault("AdaRing keeps what it could make again", "inarch/methods/ring_node.py", "if source is None else (source.entered,",
          "if True else (source.entered,", f"{TESTS} -k nothing_of_its_own"),
]
