# Writes a C++ file that holds the bytes of gRPC's own descriptors: embed.py INPUT OUTPUT
import sys

data = open(sys.argv[1], 'rb').read()
with open(sys.argv[2], 'w') as out:
    out.write('#include "net/grpc/own_descriptors.h"\nnamespace d7y::grpc {\nconst unsigned char kOwnDescriptors[] = {\n')
    for at in range(0, len(data), 24):
        out.write(','.join(str(byte) for byte in data[at:at + 24]) + ',\n')
    out.write('};\nconst std::size_t kOwnDescriptorsSize = sizeof(kOwnDescriptors);\n}  // namespace d7y::grpc\n')
