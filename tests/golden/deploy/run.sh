#!/bin/sh
# From ../hls to the bitstream: ./run.sh [ip] [bitstream], both without arguments. Vitis and Vivado 2022.2 to 2025.2.
# Options of build.tcl behind a "--": ./run.sh bitstream -- part
set -eu
cd "$(dirname "$0")"

ip() {
    if ! sha256sum -c hls.sha256 >/dev/null 2>&1; then
        echo "../hls is not the one that deploy/ was made of: run 'fpgaflow deploy' again" >&2
        exit 2
    fi
    mkdir -p ../vitis
    find ../vitis ../hls -name 'mlp.zip' -exec rm -f {} + # of an earlier design
    if command -v vitis_hls >/dev/null; then
        (cd ../vitis && vitis_hls -f ../hls/run_hls.tcl csynth export)
    elif command -v vitis-run >/dev/null; then
        (cd ../hls && sh run.sh csynth export)
    else
        echo "no vitis_hls and no vitis-run: source settings64.sh of Vitis first" >&2
        exit 2
    fi
    archive=$(find ../vitis ../hls -name 'mlp.zip' | head -n 1)
    if [ -z "$archive" ]; then
        echo "the export wrote no mlp.zip below vitis/ or hls/" >&2
        exit 2
    fi
    rm -rf ip.partial ip
    mkdir ip.partial
    unzip -q "$archive" -d ip.partial
    mv ip.partial ip
}

bitstream() {
    if [ ! -d ip ]; then
        echo "no ip/: ./run.sh ip makes it" >&2
        exit 2
    fi
    [ $# -eq 0 ] || set -- -tclargs "$@"
    vivado -mode batch -nojournal -log vivado.log -source build.tcl "$@"
}

stages=""
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    case "$1" in
        ip | bitstream) stages="$stages $1" ;;
        *) echo "unknown stage '$1'" >&2; exit 2 ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
for stage in ${stages:-ip bitstream}; do
    if [ "$stage" = ip ]; then ip; else bitstream "$@"; fi
done
