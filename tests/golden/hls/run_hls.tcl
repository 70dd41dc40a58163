# Vitis HLS project of tiny. Run: vitis_hls -f run_hls.tcl [csim] [csynth] [cosim] [export]; default: csynth.
set stages {}
foreach stage {csim csynth cosim export} {
    if {[lsearch -exact $::argv $stage] >= 0} { lappend stages $stage }
}
if {[llength $stages] == 0} { set stages csynth }

set flags "-std=c++14 -Iinclude -Isrc -Ihost -Itb"
open_project -reset vitis_project
set_top tiny
add_files "src/top.cpp" -cflags $flags
add_files "src/units/window0.cpp" -cflags $flags
add_files "src/units/matvec1.cpp" -cflags $flags
add_files "src/units/threshold2.cpp" -cflags $flags
add_files -tb tb/testbench.cpp -cflags $flags
open_solution -reset -flow_target vivado solution
set_part "xczu3eg-sbva484-1-i"
create_clock -period 4.000 -name default
config_interface -m_axi_addr64

foreach stage $stages {
    switch $stage {
        csim { csim_design }
        csynth { csynth_design }
        cosim { cosim_design }
        export { export_design -format ip_catalog -output "tiny.zip" }
    }
}
exit
