import { ExecutionContext } from './execution-context.ts'
import type { Machine } from './machine.ts'
import {
  BNDREGS,
  CONTEXT_BASE,
  CONTEXT_STRIDE,
  CONTROL,
  GPR,
  MXCSR,
  OPMASK,
  PHYSICAL_BASE,
  RIP,
  SEGMENT_BASE,
  SEGMENTS,
  TILECFG,
  TILEDATA,
  U_CET,
  VECTOR,
  X87_FCW,
  X87_REGISTERS,
  XFD_ERR,
} from './memory-map.ts'

/** Parts of a register file that programs can see: [offset, bytes]. */
const REGISTERS: readonly (readonly [number, number])[] = [
  [MXCSR, 4],
  [OPMASK, 64],
  [X87_REGISTERS, 128],
  // Control, status, tag, last instruction; PKRU, XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR.
  [X87_FCW, XFD_ERR + 4 - X87_FCW],
  // IA32_U_CET, IA32_PL0_SSP .. IA32_PL3_SSP.
  [U_CET, 40],
  [TILECFG, 64],
  [VECTOR, 32 * 64],
  [TILEDATA, 8 * 1024],
  // Bounds registers, BNDCSR, R16 to R31.
  [BNDREGS, 64 + 16 + 128],
]

/** Parts of an execution context, but RFLAGS, which lies there in a form that depends on how code was compiled. */
const CONTEXT: readonly (readonly [number, number])[] = [
  [GPR, 128],
  [RIP, 8],
  [SEGMENT_BASE, 48],
  [CONTROL, 40 * 8],
  [SEGMENTS, 128],
]

/**
 * 64 bits, in hexadecimal, of all that software can see of a machine: memory up to `physicalBytes`, every register of every
 * processor and context, also of those that ended, virtual time. Two runs with the same digest have the same state; how code was
 * compiled, what is cached and how the run was cut into slices are no part of it.
 */
export function stateDigest(machine: Machine, physicalBytes: number): string {
  const digest = new Digest(machine.mem.i32)
  digest.add(machine.retired | 0)
  digest.add(machine.idle | 0)
  digest.addRange(PHYSICAL_BASE, physicalBytes)
  for (const { registerFile } of machine.processors)
    for (const [offset, bytes] of REGISTERS) digest.addRange(registerFile + offset, bytes)
  for (let i = 0; i < machine.contextsMade; i++) {
    const base = CONTEXT_BASE + i * CONTEXT_STRIDE
    for (const [offset, bytes] of CONTEXT) digest.addRange(base + offset, bytes)
    digest.add(new ExecutionContext(machine.mem, base).rflags)
  }
  return digest.hex()
}

/** Two multiply-and-xor hashes with different constants (FNV's prime, and that of MurmurHash3's finalizer). */
class Digest {
  private readonly i32: Int32Array
  private a = 0x811c9dc5 | 0
  private b = 0x2545f491

  constructor(i32: Int32Array) {
    this.i32 = i32
  }
  add(word: number): void {
    this.a = Math.imul(this.a ^ word, 0x01000193)
    this.b = Math.imul((this.b ^ word) + (this.b >>> 15), 0x85ebca6b)
  }
  /** Whole words of the machine's memory. */
  addRange(offset: number, bytes: number): void {
    const end = (offset + bytes + 3) >> 2
    for (let w = offset >> 2; w < end; w++) this.add(this.i32[w])
  }
  hex(): string {
    return [this.a, this.b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
