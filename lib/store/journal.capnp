# Records of a task's journal and of the store's index; FORMAT.md says how they are framed.
# Numbers (@n) are never reused or reordered; new fields go to the end and default to "as before".
@0xc4b7e5a91d20f3a6;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("d7y::store::format");

struct Header {
  name @0 :Text;
  value @1 :Text;
}

# All that is known about a task besides its pieces. Replaces an earlier one in the same journal.
struct Facts {
  id @0 :Text;
  kind @1 :UInt8;
  url @2 :Text;
  tag @3 :Text;
  application @4 :Text;
  pieceLength @5 :UInt64;
  hasContentLength @6 :Bool;
  contentLength @7 :UInt64;
  responseHeaders @8 :List(Header);
  etag @9 :Text;
  lastModified @10 :Text;
  digest @11 :Text;
  ttl @12 :Int64;          # nanoseconds; 0: by kind
  persistent @13 :Bool;
  prefetched @14 :Bool;
  createdAt @15 :Int64;    # nanoseconds since 1970, as all times here
  accessedAt @16 :Int64;
}

# A piece whose bytes were verified against its CRC-32 when this was written.
struct Piece {
  number @0 :UInt32;
  crc @1 :UInt32;
  length @2 :UInt64;
  traffic @3 :UInt8;
  costMicroseconds @4 :UInt64;
  createdAt @5 :Int64;
  parent @6 :Text;
}

# The content file when we last knew it to be ours alone.
struct Stamp {
  size @0 :UInt64;
  modified @1 :Int64;
}

struct Record {
  union {
    facts @0 :Facts;
    piece @1 :Piece;
    lost @2 :UInt32;       # this piece is no longer there
    synced @3 :UInt64;     # all before this offset of the journal is on stable storage, content too
    finished @4 :Void;     # all pieces are there, length and digest verified
    failed @5 :Text;       # the download was given up, and why
    accessed @6 :Int64;
    shared @7 :Stamp;      # a user has a hard link to the content
  }
}

struct IndexEntry {
  id @0 :Text;
  kind @1 :UInt8;
  pieceLength @2 :UInt64;
  hasContentLength @3 :Bool;
  contentLength @4 :UInt64;
  stored @5 :UInt64;
  pieces @6 :UInt32;
  ttl @7 :Int64;
  createdAt @8 :Int64;
  accessedAt @9 :Int64;
  finished @10 :Bool;
  failed @11 :Bool;
  persistent @12 :Bool;
  synced @13 :Bool;        # everything complete was on stable storage
  shared @14 :Bool;
}

struct IndexRecord {
  union {
    entries @0 :List(IndexEntry);
    end @1 :UInt64;        # how many entries came before; the last record
  }
}
