# Vitis HLS project of tiny. Run: vitis_hls -f run_hls.tcl [csim] [csynth] [cosim] [export]; default: csynth.
# What Vitis makes lies in ../vitis, apart from what fpgaflow writes anew.
set here [file normalize [file dirname [info script]]]
file mkdir [file join $here .. vitis]
cd [file join $here .. vitis]
set hls [file join .. [file tail $here]]

set stages {}
foreach stage {csim csynth cosim export} {
    if {[lsearch -exact $::argv $stage] >= 0} { lappend stages $stage }
}
if {[llength $stages] == 0} { set stages csynth }

# csim computes in the types that csynth builds.
set flags "-std=c++14 -DFPGAFLOW_HARDWARE -I$hls/include -I$hls/src -I$hls/host -I$hls/tb"
open_project -reset vitis_project
set_top tiny
add_files [file join $hls "src/top.cpp"] -cflags $flags
add_files [file join $hls "src/units/window0.cpp"] -cflags $flags
add_files [file join $hls "src/units/matvec1.cpp"] -cflags $flags
add_files [file join $hls "src/units/threshold2.cpp"] -cflags $flags
add_files -tb [file join $hls tb/testbench.cpp] -cflags $flags
open_solution -reset -flow_target vivado solution
set_part "xczu3eg-sbva484-1-i"
create_clock -period 4.000 -name default
set_clock_uncertainty 27%
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
