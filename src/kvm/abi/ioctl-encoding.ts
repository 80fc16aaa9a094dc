/**
 * How Linux packs an ioctl number: nr 7:0, type 15:8, size 29:16, direction 31:30
 * (include/uapi/asm-generic/ioctl.h). All numbers here are unsigned 32-bit.
 */
const NONE = 0
const WRITE = 1
const READ = 2

/** The type byte of every KVM ioctl. */
export const KVMIO = 0xae

function pack(direction: number, type: number, nr: number, size: number): number {
  return ((direction << 30) | (size << 16) | (type << 8) | nr) >>> 0
}

/** Number of an ioctl whose argument is a value, not a pointer. */
export const _IO = (type: number, nr: number): number => pack(NONE, type, nr, 0)
/** Number of an ioctl that the kernel fills a structure of `size` bytes for. */
export const _IOR = (type: number, nr: number, size: number): number => pack(READ, type, nr, size)
/** Number of an ioctl that takes a structure of `size` bytes. */
export const _IOW = (type: number, nr: number, size: number): number => pack(WRITE, type, nr, size)
/** Number of an ioctl that takes and fills a structure of `size` bytes. */
export const _IOWR = (type: number, nr: number, size: number): number => pack(READ | WRITE, type, nr, size)

export const ioctlSize = (number: number): number => (number >>> 16) & 0x3fff
export const ioctlType = (number: number): number => (number >>> 8) & 0xff
export const ioctlNr = (number: number): number => number & 0xff
/** The caller passes data in through the pointer. */
export const ioctlCopiesIn = (number: number): boolean => ((number >>> 30) & WRITE) !== 0
/** The kernel passes data back through the pointer. */
export const ioctlCopiesOut = (number: number): boolean => ((number >>> 30) & READ) !== 0
