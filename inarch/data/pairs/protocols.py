"""How each task is put to the model, trained and scored: the published recipe of VL-PET (Hu et al., ICCV 2023) as one table.

    encoder text   prompt + text             image-text tasks; GQA's prompt is "gpa: " (sic) in the released code, and so here
                   text + " " + prompt       video-text tasks; a long subtitle pushes question and prompt past the limit
    loss           l_i = mean over tokens of the cross-entropy of target t ~ weight       w_i = weight of t
                   "soft" mean_i w_i l_i     "sample" mean_i l_i     "token" mean over all tokens of the batch
    batch          b * share[0] // share[1]  for a base batch size b

``qa`` and ``captions`` are for one's own data. They match no published run, so their questions may be longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """One task's rules."""

    name: str
    prompt: str
    prompt_at: Literal["start", "end"]
    text_tokens: int | None  # the encoder text is cut to that many tokens, special ones included; None: not cut
    target_tokens: int  # and the target to these
    loss: Literal["soft", "sample", "token"]
    decode: Literal["generate", "choice"]  # choice: one forward, the logits of each choice's first sub-token are compared
    beams: int
    max_length: int  # of what is generated
    choices: tuple[str, ...] = ()
    metric: Literal["vqa", "exact", "accuracy", "cider"] = "exact"
    share: tuple[int, int] = (1, 1)
    images: int = 1

    def frame(self, text: str) -> str:
        """``text`` with the prompt where the task has it.

        >>> PROTOCOLS["vqa"].frame("What is it?")
        'vqa: What is it?'
        """
        return self.prompt + text if self.prompt_at == "start" else f"{text} {self.prompt}"


def _video(name: str, metric: Literal["exact", "cider"]) -> Protocol:
    return Protocol(name, f"{name}: ", "end", 600, 20, "sample", "generate", 5, 20, metric=metric)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("vqa", "vqa: ", "start", 20, 10, "soft", "generate", 1, 20, metric="vqa"),
        # no target of GQA or NLVR2 is cut in the released code; none comes near 20 tokens
        Protocol("gqa", "gpa: ", "start", 20, 20, "sample", "generate", 1, 20, share=(100, 60)),
        Protocol("nlvr", "nlvr: ", "start", None, 20, "sample", "choice", 1, 20, ("true", "false"), "accuracy", (20, 60), 2),
        Protocol("caption", "caption: ", "start", 20, 40, "token", "generate", 5, 40, metric="cider", share=(50, 60)),
        _video("tvqa", "exact"),
        _video("how2qa", "exact"),
        _video("tvc", "cider"),
        _video("yc2c", "cider"),
        Protocol("qa", "vqa: ", "start", 64, 20, "soft", "generate", 1, 20),
        Protocol("captions", "caption: ", "start", 64, 40, "token", "generate", 5, 40, metric="cider"),
    )
}
