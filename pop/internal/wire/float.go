package wire

import "math"

// float gives the value of a floating-point head and whether no shorter head holds it (RFC 8949 §4.2.1).
func float(info byte, bits uint64) (value float64, least bool) {
	switch info {
	case halfFloat:
		return half(uint16(bits)), true
	case longFloat:
		value = math.Float64frombits(bits)
		return value, float64(float32(value)) != value
	}
	single := math.Float32frombits(uint32(bits))
	return float64(single), !fitsHalf(single)
}

// half decodes binary16 (RFC 8949 appendix D).
func half(bits uint16) float64 {
	exponent, mantissa := int(bits>>10&0x1f), float64(bits&0x3ff)
	var value float64
	switch exponent {
	case 0:
		value = math.Ldexp(mantissa, -24)
	case 0x1f:
		value = math.Inf(1)
		if mantissa != 0 {
			value = math.NaN()
		}
	default:
		value = math.Ldexp(mantissa+1024, exponent-25)
	}
	if bits>>15 == 1 {
		return -value
	}
	return value
}

// fitsHalf reports whether a finite value has a binary16 form: at most 11 significant bits, none below 2^-24.
func fitsHalf(single float32) bool {
	const maxHalf, leastBit = 65504, -24
	value := math.Abs(float64(single))
	if value > maxHalf {
		return false
	}
	_, exponent := math.Frexp(value)
	scaled := math.Ldexp(value, -max(exponent-11, leastBit))
	return scaled == math.Trunc(scaled)
}
