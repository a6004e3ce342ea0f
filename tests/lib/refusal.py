# SPDX-License-Identifier: MIT
"""What a refused command line is told."""


def reason(text, *arguments):
    """What stands behind the first of the arguments that the message repeats.

    Words of the argument itself prove nothing.
    """
    for argument in arguments:
        before, found, after = text.partition(argument + ": ")
        if found:
            assert before.endswith("baton: ") or not before, text
            return after
    raise AssertionError("%r is not named in %r" % (arguments, text))
