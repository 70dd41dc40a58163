"""The accelerator in SystemVerilog: generated from the units' calls, simulated by Verilator, counted by yosys."""
