"""What in a source file could run code that another file brings: pickle and its friends, eval, shells, remote code.

Names are followed through ``import x as y`` and ``from x import y as z``; what is hidden on purpose (getattr, ``**flags``) is not.
"""

from __future__ import annotations

import ast

PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "runpy", "pty"}
CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__",
    "torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter", "torch.serialization.load",
    "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.utils.cpp_extension.load",
    *(f"yaml.{word}" for word in ("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all")),
    "pandas.read_pickle",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    *(f"os.{word}" for word in ("execl", "execle", "execlp", "execv", "execve", "execvp", "spawnl", "spawnv", "startfile")),
}
NEVER = {"trust_remote_code": "False", "shell": "False", "allow_pickle": "False", "weights_only": "True"}  # any other value is a danger


def dangers(code: ast.AST) -> list[str]:
    """Every import and call that is not allowed, by the name it has where it comes from."""
    names = _origins(code)
    found = []
    for node in ast.walk(code):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [module for module in _modules(node) if module.partition(".")[0] in PICKLES]
        if isinstance(node, ast.Call):
            found += _of_call(node, names)
        elif isinstance(node, ast.Name | ast.Attribute):
            found += [name for name in [_origin(node, names)] if name.partition(".")[0] in PICKLES]
    return found


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names]


def _origins(code: ast.AST) -> dict[str, str]:
    """Name in this file -> what it stands for."""
    found = {"np": "numpy"}
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _origin(node: ast.expr, names: dict[str, str]) -> str:
    root, dot, rest = ast.unparse(node).partition(".")
    return names.get(root, root) + dot + rest


def _of_call(call: ast.Call, names: dict[str, str]) -> list[str]:
    called = _origin(call.func, names)
    flags = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    found = [f"{flag}={flags[flag]}" for flag, harmless in NEVER.items() if flags.get(flag, harmless) != harmless]
    if called == "numpy.load" and flags.get("allow_pickle") != "False":
        found.append("numpy.load without allow_pickle=False")
    if called == "importlib.import_module" and call.args and isinstance(call.args[0], ast.Constant):
        found += [module for module in [str(call.args[0].value)] if module.partition(".")[0] in PICKLES]
    return found + [called] * (called in CALLS)
