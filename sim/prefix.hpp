// Included before every unit in the C simulation, precompiled: the vendor's headers take longer to read than a unit.
#include "simulation.hpp"

#include <ap_int.h>
#include <hls_stream.h>
