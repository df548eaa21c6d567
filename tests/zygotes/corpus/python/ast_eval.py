import ast
import code
import dis

print(ast.dump(ast.parse(open("main.py").read()).body[0]))
dis.dis(compile("a + 1", "here", "eval"))
exec(compile("def f(): raise ValueError(1)\nf()", "made up", "exec"))
