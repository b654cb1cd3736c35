"""gilscope is a program, not a library: `gilscope --help`, or `python -m gilscope --help`."""
