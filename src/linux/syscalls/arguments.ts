import type { ExecutionContext } from '../../machine/execution-context.ts'

/** Registers of the arguments, in order (encoding numbers). LUX-09, LUX-12. */
const ORDER_64 = [7, 6, 2, 10, 8, 9]
const ORDER_32 = [3, 1, 2, 6, 7, 5]

/** The arguments of the system call a task is in, read from its registers when asked for. */
export class SyscallArguments {
  private readonly context: ExecutionContext
  /** INT 0x80: 32-bit registers, zero-extended. */
  compat = false

  constructor(context: ExecutionContext) {
    this.context = context
  }

  private register(index: number): number {
    return (this.compat ? ORDER_32 : ORDER_64)[index]
  }

  /** C `int`. */
  int(index: number): number {
    return this.context.lo(this.register(index))
  }
  /** C `unsigned int`. */
  u32(index: number): number {
    return this.context.lo(this.register(index)) >>> 0
  }
  /** Upper half of a C `long`, as a signed number. */
  high(index: number): number {
    return this.compat ? 0 : this.context.hi(this.register(index))
  }
  /** C `long`, pointer or `size_t` as a signed number: exact below 2^53, negative with bit 63 set. */
  long(index: number): number {
    const register = this.register(index)
    const lo = this.context.lo(register) >>> 0
    return this.compat ? lo : this.context.hi(register) * 4294967296 + lo
  }
}
