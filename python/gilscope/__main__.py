"""`python -m gilscope`: runs the program that was installed together with this package.

It tells the program by which interpreter it was called, so that `python -m gilscope record app.py`
runs app.py with the same one, in its environment.
"""

import os
import sys
import sysconfig


def program():
    """The installed program. Installers have several layouts, and move files after they were recorded."""
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [
        # Of an environment, a prefix, or a user: lib/pythonX.Y/site-packages and bin.
        os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(packages))), "bin"),
        # pip install --target
        os.path.join(packages, "bin"),
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", os.name + "_user"),
    ]
    for folder in folders:
        path = os.path.join(folder, "gilscope")
        if os.access(path, os.X_OK):
            return path
    sys.exit(
        "gilscope: the program that belongs to this package is in none of the folders %s. "
        "Install it again: %s -m pip install --force-reinstall gilscope"
        % (", ".join(dict.fromkeys(folders)), sys.executable)
    )


def environment():
    """The program's environment variables: commands of a virtual environment are found as if it was activated."""
    variables = dict(os.environ)
    if sys.executable:
        variables["GILSCOPE_PYTHON"] = sys.executable
    if sys.prefix != sys.base_prefix:
        path = variables.get("PATH", os.defpath).split(os.pathsep)
        folder = os.path.join(sys.prefix, "bin")
        variables["PATH"] = os.pathsep.join([folder] + [other for other in path if other != folder])
    return variables


if __name__ == "__main__":
    path = program()
    os.execve(path, [path] + sys.argv[1:], environment())
