import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import type { HostMachine } from '../hardware.ts'
import { TASK_SIZE_MAX } from './layout.ts'
import { type PageTable, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE } from './page-table.ts'

/** Kernel accesses to user memory: they obey the mapping's rights, and fault pages in. `false` or -1 means EFAULT. */
export abstract class UserMemory {
  readonly mem: MachineMemory
  readonly machine: HostMachine
  abstract readonly table: PageTable
  /** Halves read by `getUser64`. */
  lo = 0
  hi = 0

  constructor(machine: HostMachine) {
    this.machine = machine
    this.mem = machine.mem
  }

  /** Makes `address` accessible; 0, or signal << 8 | si_code. */
  abstract fault(address: number, write: boolean, execute: boolean): number

  /** Wasm offset of a byte of user memory, -1 for EFAULT. Valid up to the page's end. */
  resolve(address: number, write: boolean): number {
    const wanted = write ? PTE_PRESENT | PTE_USER | PTE_WRITE : PTE_PRESENT | PTE_USER
    for (let attempt = 0; attempt < 2; attempt++) {
      if (!(address >= 0 && address < TASK_SIZE_MAX)) return -1
      const word = this.table.find(address)
      if (word !== 0) {
        const entry = this.mem.i32[word]
        if ((entry & wanted) === wanted) {
          if (write) this.mem.i32[word] = entry | PTE_DIRTY
          return PHYSICAL_BASE + ((entry & ~0xfff) >>> 0) + ((address >>> 0) & 0xfff)
        }
      }
      if (this.fault(address, write, false) !== 0) return -1
    }
    return -1
  }

  /** True when [user, user + length) lies in the user half (access_ok). */
  inUserRange(user: number, length: number): boolean {
    return user >= 0 && length >= 0 && user + length <= TASK_SIZE_MAX
  }

  copyFromUser(into: Uint8Array, at: number, user: number, length: number): boolean {
    return this.copyFromUserPartly(into, at, user, length) === length
  }

  /** Bytes copied before the first inaccessible one. */
  copyFromUserPartly(into: Uint8Array, at: number, user: number, length: number): number {
    const { u8 } = this.mem
    let done = 0
    while (done < length) {
      const from = this.resolve(user + done, false)
      if (from < 0) break
      const chunk = Math.min(4096 - (from & 0xfff), length - done)
      if (into === u8) u8.copyWithin(at + done, from, from + chunk)
      else into.set(u8.subarray(from, from + chunk), at + done)
      done += chunk
    }
    return done
  }

  copyToUser(user: number, from: Uint8Array, at: number, length: number): boolean {
    return this.copyToUserPartly(user, from, at, length) === length
  }

  copyToUserPartly(user: number, from: Uint8Array, at: number, length: number): number {
    const { u8 } = this.mem
    let done = 0
    while (done < length) {
      const to = this.resolve(user + done, true)
      if (to < 0) break
      const chunk = Math.min(4096 - (to & 0xfff), length - done)
      if (from === u8) u8.copyWithin(to, at + done, at + done + chunk)
      else u8.set(from.subarray(at + done, at + done + chunk), to)
      this.machine.physicalWritten(to - PHYSICAL_BASE, chunk)
      done += chunk
    }
    return done
  }

  /** Zeroes user memory. */
  clearUser(user: number, length: number): boolean {
    let done = 0
    while (done < length) {
      const to = this.resolve(user + done, true)
      if (to < 0) return false
      const chunk = Math.min(4096 - (to & 0xfff), length - done)
      this.mem.u8.fill(0, to, to + chunk)
      this.machine.physicalWritten(to - PHYSICAL_BASE, chunk)
      done += chunk
    }
    return true
  }

  getUser8(user: number): number {
    const at = this.resolve(user, false)
    return at < 0 ? -1 : this.mem.u8[at]
  }

  /** Unsigned value, or -1. */
  getUser32(user: number): number {
    const at = this.resolve(user, false)
    if (at < 0) return -1
    if ((at & 0xfff) <= 4092) return this.mem.view.getUint32(at, true)
    let value = 0
    for (let i = 3; i >= 0; i--) {
      const byte = this.getUser8(user + i)
      if (byte < 0) return -1
      value = value * 256 + byte
    }
    return value
  }

  /** Leaves the halves in `lo` and `hi` (signed 32-bit). */
  getUser64(user: number): boolean {
    const at = this.resolve(user, false)
    if (at < 0) return false
    if ((at & 0xfff) <= 4088) {
      this.lo = this.mem.view.getInt32(at, true)
      this.hi = this.mem.view.getInt32(at + 4, true)
      return true
    }
    const lo = this.getUser32(user)
    const hi = this.getUser32(user + 4)
    if (lo < 0 || hi < 0) return false
    this.lo = lo | 0
    this.hi = hi | 0
    return true
  }

  /** A 64-bit value as a signed number (exact below 2^53), NaN for EFAULT. */
  getUserLong(user: number): number {
    return this.getUser64(user) ? this.hi * 4294967296 + (this.lo >>> 0) : Number.NaN
  }

  putUser8(user: number, value: number): boolean {
    const at = this.resolve(user, true)
    if (at < 0) return false
    this.mem.u8[at] = value
    this.machine.physicalWritten(at - PHYSICAL_BASE, 1)
    return true
  }

  putUser32(user: number, value: number): boolean {
    const at = this.resolve(user, true)
    if (at < 0) return false
    if ((at & 0xfff) <= 4092) {
      this.mem.view.setInt32(at, value | 0, true)
      this.machine.physicalWritten(at - PHYSICAL_BASE, 4)
      return true
    }
    for (let i = 0; i < 4; i++) if (!this.putUser8(user + i, (value >>> (i * 8)) & 0xff)) return false
    return true
  }

  putUser64(user: number, lo: number, hi: number): boolean {
    return this.putUser32(user, lo) && this.putUser32(user + 4, hi)
  }

  /** Stores a number |value| < 2^53 as a 64-bit integer. */
  putUserLong(user: number, value: number): boolean {
    return this.putUser64(user, value | 0, Math.floor(value / 4294967296) | 0)
  }

  /**
   * A NUL-terminated string of at most `limit` bytes with its NUL. Null = EFAULT; undefined = too long.
   * Bytes become UTF-16 units one to one, so that any file name survives.
   */
  stringFromUser(user: number, limit = 4096): string | null | undefined {
    let text = ''
    let address = user
    while (text.length < limit) {
      const at = this.resolve(address, false)
      if (at < 0) return null
      const end = Math.min(at + 4096 - (at & 0xfff), at + limit - text.length)
      for (let i = at; i < end; i++) {
        const byte = this.mem.u8[i]
        if (byte === 0) return text
        text += String.fromCharCode(byte)
      }
      address += end - at
    }
    return undefined
  }
}
