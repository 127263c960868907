"""lmac-td: hear why an audio classifier decided.

A clip goes in, the classifier decides, an interpreter keeps the part of the sound
that made it decide, and the same yardstick measures every interpreter.
"""
