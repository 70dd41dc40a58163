#!/usr/bin/env bash
# An array of ap_int that is initialised by {} is not zero: the class has a default constructor, which leaves the number
# as the memory was, while the same line makes zeros of a native type. Seen with the open ap_types that hls4ml 1.3.0
# ships and g++ -O0: the bytes 0xff below show through as -1, of int as 0.
# Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps hls4ml==1.3.0
headers=$(find "$folder/venv" -type d -path '*vivado/ap_types')
cat > "$folder/main.cpp" <<'CPP'
#include <cstdio>
#include <cstring>
#include <new>

#include "ap_int.h"

template <class T>
struct Sums {
    T v[4] = {};
};

template <class T>
int first() {
    alignas(16) unsigned char memory[sizeof(Sums<T>)];
    std::memset(memory, 0xff, sizeof memory);
    return int((new (memory) Sums<T>)->v[0]);
}

int main() {
    std::printf("int {}: %d, ap_int<19> {}: %d\n", first<int>(), first<ap_int<19> >());
    return first<int>() == 0 && first<ap_int<19> >() == -1 ? 0 : 1;
}
CPP
g++ -std=c++14 -O0 -w -isystem "$headers" "$folder/main.cpp" -o "$folder/main"
"$folder/main"
