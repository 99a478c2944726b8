/* Two functions in two sections, one with an inlined call: what a module for arm64 looks like.
 * aarch64-linux-gnu-gcc -O2 -g -c -fno-asynchronous-unwind-tables -ffile-prefix-map=$PWD=/src -o arm64.o sections.c */
static inline __attribute__((always_inline)) int read_twice(volatile int *p)
{
	return *p + *p;
}

int running(volatile int *p)
{
	return read_twice(p) * 3;
}

__attribute__((section(".init.text"), cold)) int starting(volatile int *p)
{
	return read_twice(p) * 5;
}
