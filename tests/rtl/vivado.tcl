# Stand-ins for the Vivado commands that synth.tcl uses: each checks its arguments and the order, and prints what it did.
# Variables: script, argv.
set state none; set sources {}; set memories {}; set constraints {}
proc demand {what condition} { if {![uplevel 1 [list expr $condition]]} { error "stand-in: $what" } }
proc step {from to} { demand "$::state where one of '$from' is needed" [list [expr {$::state in $from}]]; set ::state $to }
proc create_project {args} {
    step none open
    demand "arguments $args" {[lrange $args 0 1] eq "-in_memory -part" && [llength $args] == 3}
    set ::sources {}; set ::memories {}; set ::constraints {}
    puts "create_project [lindex $args 2]"
}
proc text {path} { set file [open $path]; set found [read $file]; close $file; return $found }
proc read_verilog {flag paths} {
    step open open
    demand "no SystemVerilog" {$flag eq "-sv"}
    foreach path $paths { append ::sources [text $path] }
}
proc read_mem {paths} { step open open; foreach path $paths { text $path; lappend ::memories $path } }
proc read_xdc {flag mode path} { step open open; demand mode {"$flag $mode" eq "-mode out_of_context"}; set ::constraints [text $path] }
proc get_ports {name} {
    demand "no port $name" {[regexp "module $::synthesized \\(\[^;\]*input wire ${name}\\M" $::sources]}
    return $name
}
proc create_clock {name clock period ns port} {
    demand "arguments" {$name eq "-name" && $period eq "-period" && $clock eq $port}
    puts "create_clock $port $ns"
}
proc synth_design {args} {
    step open synthesized
    set ::synthesized [dict get $args -top]
    demand "mode" {[dict get $args -mode] eq "out_of_context"}
    demand "no module $::synthesized" {[regexp "module $::synthesized \\(" $::sources]}
    foreach {_ module} [regexp -all -inline {\n    (fpgaflow_\w+) #\(} $::sources] {
        demand "no module $module" {[regexp "module $module #\\(" $::sources]}
    }
    foreach {_ file} [regexp -all -inline {_FILE\("([^"]*)"\)} $::sources] {
        demand "no memory $file" {[lsearch -glob $::memories ${file}_*.mem] >= 0}
    }
    puts "synth_design $::synthesized"
    eval $::constraints
}
proc opt_design {} { step synthesized optimized }
proc place_design {} { step optimized placed }
proc route_design {} { step placed routed }
proc write_checkpoint {force path} { step routed routed; puts "write_checkpoint $path" }
proc report_utilization {hierarchical flag path} { step {synthesized routed} $::state; puts "report $path" }
proc report_timing_summary {flag path} { step {synthesized routed} $::state; puts "report $path" }
proc close_project {} { step {synthesized routed} none }
source $script
demand "a project is left open" {$state eq "none"}
