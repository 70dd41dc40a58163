# Stand-ins for the Vivado commands that build.tcl uses: each checks its arguments against a model of the project, the
# catalog and the block design, and prints what it did. A command that is not here is an error, as in any Tcl.
# Variables: root (of the deployment), script, argv, and the fault to inject, if any.

set project {}; set part {}; set board {}; set repos {}; set catalog 0; set design {}; set state empty
array set cells {}; array set config {}; array set nets {}; array set links {}; array set spaces {}
set ps {
    {CONFIG.PSU__FPGA_PL0_ENABLE 1 pl_clk0 out} {CONFIG.PSU__FPGA_PL0_ENABLE 1 pl_resetn0 out}
    {CONFIG.PSU__USE__M_AXI_GP0 1 maxihpm0_fpd_aclk in} {CONFIG.PSU__USE__M_AXI_GP0 1 M_AXI_HPM0_FPD master}
}
for {set i 0} {$i < 4} {incr i} {
    set use CONFIG.PSU__USE__S_AXI_GP[expr {$i + 2}]
    lappend ps [list $use 1 saxihp${i}_fpd_aclk in] [list $use 1 S_AXI_HP${i}_FPD slave]
}
set smartconnect {{{} {} aclk in} {{} {} aresetn in} {{} {} S00_AXI slave} {{} {} M00_AXI master}}
set reset {{{} {} slowest_sync_clk in} {{} {} ext_reset_in in} {{} {} peripheral_aresetn out}}
set accelerator {{{} {} ap_clk in} {{} {} ap_rst_n in} {{} {} s_axi_control slave}}
foreach bundle $bundles { lappend accelerator [list {} {} m_axi_$bundle master] }

proc demand {what condition} { if {![uplevel 1 [list expr $condition]]} { error "stand-in: $what" } }
proc say {args} { puts [join $args] }
proc step {from to} {
    demand "the project is '$::state' where it must be one of '$from'" [list [expr {$::state in $from}]]
    set ::state $to
}
proc options {arguments flags} {
    # Name and value of every option in flags (name takes), the rest under "".
    set found {"" {}}
    for {set i 0} {$i < [llength $arguments]} {incr i} {
        set word [lindex $arguments $i]
        if {[dict exists $flags $word]} {
            if {[dict get $flags $word]} { dict set found $word [lindex $arguments [incr i]] } { dict set found $word 1 }
        } else {
            demand "unknown option $word" {![string match -* $word]}
            dict lappend found "" $word
        }
    }
    return $found
}

proc create_project {args} {
    step empty project
    set o [options $args {-force 0 -part 1}]
    lassign [dict get $o ""] ::project folder
    demand "no part" {[dict exists $o -part]}
    set ::part [dict get $o -part]
    file mkdir $folder
    set ::folder $folder
    say create_project $::project $::part
}
proc current_project {} { return @project }
proc current_fileset {} { return @fileset }
proc get_board_parts {args} {
    set o [options $args {-quiet 0 -latest_file_version 0}]
    return [expr {$::fault eq "no board files" ? {} : [string map {* 1.3} [dict get $o ""]]}]
}
proc update_ip_catalog {} { demand "no repository" {$::repos ne {}}; set ::catalog 1; say update_ip_catalog }
proc get_ipdefs {args} {
    set o [options $args {-all 0}]
    set known {xilinx.com:ip:zynq_ultra_ps_e:3.3 xilinx.com:ip:zynq_ultra_ps_e:3.5 xilinx.com:ip:proc_sys_reset:5.0
        xilinx.com:ip:smartconnect:1.0}
    if {$::catalog && $::fault ne "no ip"} { lappend known xilinx.com:hls:$::top_name:1.0 }
    return [lsearch -all -inline -glob $known [dict get $o ""]]
}
proc create_bd_design {name} { step project design; set ::design $name; say create_bd_design $name }
proc create_bd_cell {args} {
    step design design
    set o [options $args {-type 1 -vlnv 1}]
    set name [dict get $o ""]
    demand "cell $name is there already" {![info exists ::cells($name)]}
    switch -glob [dict get $o -vlnv] {
        xilinx.com:ip:zynq_ultra_ps_e:3.5 { set ::cells($name) $::ps }
        xilinx.com:ip:proc_sys_reset:5.0 { set ::cells($name) $::reset }
        xilinx.com:ip:smartconnect:1.0 { set ::cells($name) $::smartconnect }
        xilinx.com:hls:* { set ::cells($name) $::accelerator }
        default { error "stand-in: no IP [dict get $o -vlnv]" }
    }
    say create_bd_cell $name [dict get $o -vlnv]
    return @cell:$name
}
proc apply_bd_automation {args} {
    set o [options $args {-rule 1 -config 1}]
    demand "a preset without a board" {$::board ne {}}
    demand "the preset would undo settings" {![array size ::config]}
    say apply_bd_automation [dict get $o -rule] [dict get $o -config] [dict get $o ""]
}
proc set_property {args} {
    set o [options $args {-dict 1}]
    if {[dict exists $o -dict]} {
        set object [dict get $o ""]
        set pairs [dict get $o -dict]
    } else {
        lassign [dict get $o ""] name value object
        set pairs [list $name $value]
    }
    foreach {name value} $pairs {
        switch -glob $object {
            @project {
                switch $name {
                    board_part { set ::board $value }
                    ip_repo_paths { demand "no folder $value" {[file isdirectory $value]}; set ::repos $value }
                    default { error "stand-in: a project has no $name" }
                }
            }
            @fileset { demand "a fileset has no $name" {$name eq "top"}; demand "no wrapper" {$::state eq "wrapped"} }
            @cell:* {
                demand "no cell $object" {[info exists ::cells([string range $object 6 end])]}
                demand "$name is no setting" {[string match CONFIG.* $name]}
                set ::config($object,$name) $value
            }
            default { error "stand-in: nothing to set in '$object'" }
        }
        if {$name ne "ip_repo_paths"} { say set_property $name $value $object }
    }
}
proc get_property {name object} {
    switch -glob "$object $name" {
        "@project board_part" { return $::board }
        "@cell:ps CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ" { return 249.997498 }
        "@run PROGRESS" { return [expr {$::fault eq "no route" ? "87%" : "100%"}] }
        "@run STATUS" { return "route_design ERROR" }
        "@run STATS.WNS" { return [expr {$::fault eq "slow" ? -0.211 : 0.054}] }
        "@run STATS.WHS" { return 0.010 }
    }
    error "stand-in: no property $name of $object"
}

# Pins and interfaces, which a cell has where its settings say so.
proc lookup {path kinds} {
    lassign [split $path /] cell pin
    demand "no cell $cell" {[info exists ::cells($cell)]}
    foreach entry $::cells($cell) {
        lassign $entry setting value name kind
        if {$name eq $pin && $kind in $kinds} {
            if {$setting ne {}} { demand "$path needs $setting" {[info exists ::config(@cell:$cell,$setting)] && $::config(@cell:$cell,$setting) == $value} }
            return "$kind:$path"
        }
    }
    error "stand-in: no pin $path"
}
proc get_bd_pins {path} { return [lookup $path {in out}] }
proc get_bd_intf_pins {path} { return [lookup $path {master slave}] }
proc connect_bd_net {args} {
    set drivers [lsearch -all -inline $args out:*]
    demand "a net of $args" {[llength $drivers] == 1 && [llength $args] > 1}
    foreach pin $args {
        if {![string match out:* $pin]} {
            demand "$pin has a driver" {![info exists ::nets($pin)]}
            set ::nets($pin) [lindex $drivers 0]
            say net $::nets($pin) $pin
        }
    }
}
proc connect_bd_intf_net {from to} {
    demand "$from and $to do not join" {[string match master:* $from] && [string match slave:* $to]}
    demand "$from or $to is joined" {![info exists ::links($from)] && ![info exists ::links($to)]}
    if {[string match master:accelerator/* $from] && [string match slave:ps/S_AXI_HP* $to]} {
        regexp {S_AXI_HP(\d)} $to -> n
        set width CONFIG.PSU__SAXIGP[expr {$n + 2}]__DATA_WIDTH
        demand "widths of $to" {[info exists ::config(@cell:ps,$width)] && $::config(@cell:ps,$width) == 128}
    }
    set ::links($from) $to
    set ::links($to) $from
    say link $from $to
}
proc get_bd_addr_spaces {path} { demand "no space $path" {$path eq "ps/Data"}; return @space:$path }
proc get_bd_addr_segs {path} { demand "no segment $path" {$path eq "accelerator/s_axi_control/Reg"}; return @segment:$path }
proc assign_bd_address {args} {
    set o [options $args {-offset 1 -range 1 -target_address_space 1 -force 0}]
    if {[dict get $o ""] ne {}} {
        demand "the registers are not connected" {[info exists ::links(slave:accelerator/s_axi_control)]}
        demand "[dict get $o -offset] is outside M_AXI_HPM0_FPD" {[dict get $o -offset] >= 0xA0000000 && [dict get $o -offset] < 0xB0000000}
        set ::spaces(registers) [dict get $o -offset]
    }
    set ::spaces(memory) 1
    say assign_bd_address {*}$args
}
proc validate_bd_design {} {
    foreach cell [lsort [array names ::cells]] {
        foreach entry $::cells($cell) {
            lassign $entry setting value name kind
            if {$setting ne {} && (![info exists ::config(@cell:$cell,$setting)] || $::config(@cell:$cell,$setting) != $value)} continue
            if {$kind eq "in"} { demand "$cell/$name is not connected" {[info exists ::nets(in:$cell/$name)]} }
            if {$kind in {master slave}} { demand "$cell/$name is not connected" {[info exists ::links($kind:$cell/$name)]} }
        }
    }
    foreach {pin wanted} [array get ::nets] {
        if {[regexp {clk$} $pin]} { demand "$pin has another clock" {$wanted eq "out:ps/pl_clk0"} }
    }
    demand "no clock is set" {[info exists ::config(@cell:ps,CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ)]}
    demand "no address of the registers" {[info exists ::spaces(registers)]}
    demand "no addresses of the memory" {[info exists ::spaces(memory)]}
    step design valid
    say validate_bd_design
}
proc save_bd_design {} { step valid saved; say save_bd_design }
proc get_files {name} { demand "no file $name" {$name eq "$::design.bd"}; return @bd }
proc make_wrapper {args} {
    step saved wrapped
    demand "make_wrapper $args" {$args eq "-files @bd -top"}
    return $::folder/${::design}_wrapper.v
}
proc add_files {args} { demand "add_files $args" {[lindex $args 0] eq "-norecurse"}; say add_files }
proc update_compile_order {args} { demand "order $args" {$args eq "-fileset sources_1"} }
proc launch_runs {args} {
    step wrapped running
    demand "launch_runs $args" {[lrange $args 0 2] eq "impl_1 -to_step write_bitstream"}
    say launch_runs {*}$args
}
proc touch {path} { file mkdir [file dirname $path]; close [open $path w] }
proc wait_on_run {run} {
    step running done
    touch $::folder/$::project.runs/$run/${::design}_wrapper.bit
    if {$::fault ne "no handoff"} { touch $::folder/$::project.gen/sources_1/bd/$::design/hw_handoff/$::design.hwh }
}
proc get_runs {name} { demand "no run $name" {$name eq "impl_1"}; return @run }
proc open_run {name} { step done open; say open_run $name }
proc write_hw_platform {args} {
    set o [options $args {-fixed 0 -include_bit 0 -force 0 -file 1}]
    demand "no bitstream in the platform" {[dict exists $o -fixed] && [dict exists $o -include_bit] && $::state eq "open"}
    touch [dict get $o -file]
}
proc get_cells {path} { demand "no cell $path" {$path eq "${::design}_i/accelerator"}; return @cells }
proc report_utilization {args} {
    set o [options $args {-return_string 0 -cells 1}]
    demand "a report of nothing" {$::state eq "open" && [dict exists $o -return_string]}
    lassign [expr {[dict exists $o -cells] ? {7012 9120 24 3.5} : {11934 15873 24 5.5}}] lut ff dsp bram
    return "| CLB LUTs*                  | $lut |     0 |          0 |     70560 | 16.91 |
|   LUT as Logic             | 6000 |     0 |          0 |     70560 |  8.50 |
| CLB Registers              | $ff |     0 |          0 |    141120 | 11.25 |
| Block RAM Tile    |  $bram |     0 |          0 |       216 |  2.55 |
|   RAMB36/FIFO*    |    2 |     0 |          0 |       216 |  0.93 |
| URAM           |     5 |     0 |          0 |        64 |  7.81 |
| DSPs           |   $dsp |     0 |          0 |       360 |  6.67 |"
}
proc version {args} { return 2024.1 }

source $script
