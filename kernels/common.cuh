// What every kernel file starts with; joined in front of the text by gpuseg/_cuda/_source.py.
// Fixed-width names, because NVRTC has no <cstdint> without the toolkit's headers.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
