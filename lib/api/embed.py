# Writes a C++ file that holds a binary file's bytes: embed.py INPUT OUTPUT SYMBOL
import sys

data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "w") as out:
    out.write("#include \"api/descriptors.h\"\nnamespace d7y::api {\nconst unsigned char %s[] = {\n" % sys.argv[3])
    for at in range(0, len(data), 24):
        out.write(",".join(str(b) for b in data[at : at + 24]) + ",\n")
    out.write("};\nconst std::size_t %sSize = sizeof(%s);\n}  // namespace d7y::api\n" % (sys.argv[3], sys.argv[3]))
