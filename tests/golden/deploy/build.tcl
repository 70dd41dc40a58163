# The bitstream of mlp_0123abcd: vivado -mode batch -source build.tcl [-tclargs part|smartconnect]   (2022.2 to 2025.2)
# part: without the board's files, for the part alone. smartconnect: one in front of every memory port.
set here [file dirname [file normalize [info script]]]
set design "mlp_0123abcd"
set top "mlp"
set masters {gmem0 gmem1}
set board_part "avnet.com:ultra96v2:part0:*"
set options [expr {[info exists argv] ? $argv : {}}]

create_project -force $design [file join $here vivado] -part "xczu3eg-sbva484-1-i"
if {$board_part ne "" && "part" ni $options} {
    set found [lindex [get_board_parts -quiet -latest_file_version $board_part] 0]
    if {$found eq ""} {
        error "no board files for $board_part; install them (Tools, Vivado Store, Boards), or add -tclargs part"
    }
    set_property board_part $found [current_project]
}
set_property ip_repo_paths [file join $here ip] [current_project]
update_ip_catalog

proc newest {name} {
    set found [lindex [lsort -dictionary [get_ipdefs -all $name]] end]
    if {$found eq ""} { error "no IP $name in the catalog" }
    return $found
}

# Processing system: one register port, a memory port for every master, the clock of the plan.
create_bd_design $design
set ps [create_bd_cell -type ip -vlnv [newest "xilinx.com:ip:zynq_ultra_ps_e:*"] ps]
if {[get_property board_part [current_project]] ne ""} {
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
}
set settings [list CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 250 \
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0]
for {set i 0} {$i < [llength $masters]} {incr i} {
    set port [expr {$i + 2}] ;# S_AXI_GP2 is S_AXI_HP0_FPD
    lappend settings CONFIG.PSU__USE__S_AXI_GP$port 1 CONFIG.PSU__SAXIGP${port}__DATA_WIDTH 128
}
set_property -dict $settings $ps
create_bd_cell -type ip -vlnv [newest "xilinx.com:hls:$top:*"] accelerator
create_bd_cell -type ip -vlnv [newest "xilinx.com:ip:proc_sys_reset:*"] reset
set registers [create_bd_cell -type ip -vlnv [newest "xilinx.com:ip:smartconnect:*"] registers]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $registers

# One clock and one reset.
proc clocked {args} {
    foreach pin $args { connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $pin] }
}
proc reset_by {args} {
    foreach pin $args { connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin] }
}
clocked reset/slowest_sync_clk accelerator/ap_clk registers/aclk ps/maxihpm0_fpd_aclk
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
reset_by accelerator/ap_rst_n registers/aresetn
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins registers/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins registers/M00_AXI] [get_bd_intf_pins accelerator/s_axi_control]

# Each master, of 128 bits, to a memory port of its own: nothing need stand between where that is as wide.
for {set i 0} {$i < [llength $masters]} {incr i} {
    clocked ps/saxihp${i}_fpd_aclk
    set master [get_bd_intf_pins accelerator/m_axi_[lindex $masters $i]]
    set port [get_bd_intf_pins ps/S_AXI_HP${i}_FPD]
    if {"smartconnect" in $options || 128 != 128} {
        set between [create_bd_cell -type ip -vlnv [newest "xilinx.com:ip:smartconnect:*"] memory_$i]
        set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $between
        clocked memory_$i/aclk
        reset_by memory_$i/aresetn
        connect_bd_intf_net $master [get_bd_intf_pins memory_$i/S00_AXI]
        connect_bd_intf_net [get_bd_intf_pins memory_$i/M00_AXI] $port
    } else {
        connect_bd_intf_net $master $port
    }
}

assign_bd_address -offset 0xA0000000 -range 64K -target_address_space [get_bd_addr_spaces ps/Data] \
    [get_bd_addr_segs accelerator/s_axi_control/Reg] -force
assign_bd_address
validate_bd_design
save_bd_design
set mhz [get_property CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ $ps]

# Synthesis and implementation.
add_files -norecurse [make_wrapper -files [get_files $design.bd] -top]
set_property top ${design}_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    error "the implementation stopped: [get_property STATUS [get_runs impl_1]]; see vivado/$design.runs"
}
open_run impl_1

# What the driver needs.
set bit [file join $here vivado $design.runs impl_1 ${design}_wrapper.bit]
set handoff [glob -nocomplain -directory [file join $here vivado] $design.{gen,srcs}/sources_1/bd/$design/hw_handoff/$design.hwh]
if {![llength $handoff]} { error "Vivado wrote no $design.hwh" }
file copy -force $bit [file join $here board $design.bit]
file copy -force [lindex $handoff 0] [file join $here board $design.hwh]
write_hw_platform -fixed -include_bit -force -file [file join $here $design.xsa]

# What `fpgaflow measure` reads.
proc used {report label} {
    if {![regexp -line "^\\|\\s*$label\\*?\\s*\\|\\s*(\[0-9.\]+)" $report -> count]} { error "no row '$label' in a report" }
    return $count
}
proc resources {report} {
    return [format "\{\"lut\": %d, \"ff\": %d, \"dsp\": %d, \"bram18\": %d\}" [used $report "CLB LUTs"] \
        [used $report "CLB Registers"] [used $report DSPs] [expr {int(2 * [used $report "Block RAM Tile"])}]]
}
set whole [resources [report_utilization -return_string]]
set own [resources [report_utilization -cells [get_cells ${design}_i/accelerator] -return_string]]
set run [get_runs impl_1]
set wns [get_property STATS.WNS $run]
set file [open [file join $here vivado.json] w]
puts $file "{"
puts $file " \"kind\": \"vivado\", \"design\": \"$design\", \"version\": \"[version -short]\","
puts $file " \"clock_mhz\": $mhz,"
puts $file " \"timing\": {\"wns_ns\": $wns, \"whs_ns\": [get_property STATS.WHS $run]},"
puts $file " \"resources\": $whole,"
puts $file " \"accelerator\": $own"
puts $file "}"
close $file
if {$wns < 0} {
    puts "timing is not met: the worst slack is $wns ns; export again with a lower --clock"
    exit 3
}
