import { EFAULT } from '../linux/errno.ts'
import { SyscallError } from './errors.ts'
import type { ProcessBackend } from './process-backend.ts'

/** A stretch of a process's memory: guest RAM, structures that point to others. */
export class ProcessMemory {
  /** User address of the first byte. */
  readonly address: number
  /** Bytes. */
  readonly size: number
  private readonly backend: ProcessBackend

  constructor(backend: ProcessBackend, address: number, size: number) {
    this.backend = backend
    this.address = address
    this.size = size
  }

  /** Copies `into.length` bytes from `offset` on. */
  read(offset: number, into: Uint8Array): void {
    this.inside(offset, into.length)
    if (!this.backend.read(this.address + offset, into)) throw this.unmapped('read')
  }

  /** Copies `from` to `offset`. */
  write(offset: number, from: Uint8Array): void {
    this.inside(offset, from.length)
    if (!this.backend.write(this.address + offset, from)) throw this.unmapped('write')
  }

  bytes(offset: number, length: number): Uint8Array {
    const copy = new Uint8Array(length)
    this.read(offset, copy)
    return copy
  }

  private inside(offset: number, length: number): void {
    if (offset >= 0 && offset + length <= this.size) return
    throw new RangeError(`bytes ${offset}..${offset + length} of a memory of ${this.size} bytes`)
  }
  private unmapped(what: string): SyscallError {
    return new SyscallError(`${what} of process memory at 0x${this.address.toString(16)}`, EFAULT, null)
  }
}
