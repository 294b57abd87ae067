"""The protocol `xares`: X-ARES 0.1.3 reproduced on arrays, slips included, so that a figure can be compared with its.

Not what we stand behind: that is `clean`. What differs, and why each slip is kept, is in docs/protocol-xares.md.
"""
