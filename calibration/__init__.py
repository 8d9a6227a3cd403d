"""int8 variants (`sacvit calibrate`): ranges, smoothing, the quantiser, and the gate that compares with fp32."""
