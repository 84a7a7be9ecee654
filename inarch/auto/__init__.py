"""``inarch auto``: from a folder of images to a trained, tested, reported adapter, every decision on the way written down.

    check -> backbone by the machine -> what a step costs -> image size and epochs that fit the time -> ladder -> winner -> report
"""

from inarch.auto.run import Ask, auto

__all__ = ["Ask", "auto"]
