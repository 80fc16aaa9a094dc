import { parseCpuSpec } from '../../../src/isa/cpu-grammar.ts'
import { HOST_EXIT_BUDGET } from '../../../src/machine/exits.ts'
import { MXCSR, TILECFG, TILEDATA } from '../../../src/machine/memory-map.ts'
import { BareHost } from '../bare-host.ts'
import { type AmxBackend, MEM, MEM_SIZE, type Outcome, SCRATCH, SCRATCH_SIZE } from './replay.ts'

const CODE = 0x40_0000
const CODE_PAGES = 256
/** Physical places of the two data regions and of the code. */
const PHYSICAL = { mem: 0x80_0000, scratch: 0x90_0000, code: 0xa0_0000 }

/** The recorded cases executed as instruction bytes by the engine, in 64-bit user mode, one instruction at a time. */
export class EngineBackend implements AmxBackend {
  private readonly host: BareHost
  private readonly placed = new Map<string, number>()
  private nextCode = CODE

  constructor() {
    this.host = new BareHost({
      model: parseCpuSpec('SapphireRapids-bochs,+amx-fp16,+amx-complex'),
      physicalBytes: 32 << 20,
      engine: { regionLimit: 1 },
    })
    this.host.map(CODE, PHYSICAL.code, CODE_PAGES)
    this.host.map(Number(SCRATCH), PHYSICAL.scratch, SCRATCH_SIZE / 4096)
    this.reset()
  }

  private get processor() {
    return this.host.machine.processors[0]
  }

  reset(): void {
    this.host.map(Number(MEM), PHYSICAL.mem, MEM_SIZE / 4096)
    this.processor.amx.release()
  }

  private physical(address: bigint): number {
    return address >= SCRATCH ? PHYSICAL.scratch + Number(address - SCRATCH) : PHYSICAL.mem + Number(address - MEM)
  }
  poke(address: bigint, bytes: Uint8Array): void {
    this.host.write(this.physical(address), bytes)
  }
  peek(address: bigint, length: number): Uint8Array {
    return this.host.read(this.physical(address), length)
  }
  protect(address: bigint, access: 'rw' | 'ro' | 'none'): void {
    this.host.map(Number(address), this.physical(address), 1, {
      write: access === 'rw',
      user: access !== 'none',
      present: access !== 'none',
    })
  }

  /** Each distinct instruction has a place of its own, so that it is compiled once. */
  private place(code: Uint8Array): number {
    const key = String(code)
    let at = this.placed.get(key)
    if (at === undefined) {
      at = this.nextCode
      this.nextCode += (code.length + 15) & ~15
      this.host.write(PHYSICAL.code + at - CODE, code)
      this.placed.set(key, at)
    }
    return at
  }

  execute(code: Uint8Array, registers: { rdi: bigint; rsi: bigint; mxcsr: number }): Outcome {
    const { ctx } = this.host
    ctx.rip = BigInt(this.place(code))
    ctx.rflags = 2
    ctx.setReg(7, registers.rdi)
    ctx.setReg(6, registers.rsi)
    this.processor.setMxcsr(registers.mxcsr)
    const reason = this.host.run(1)
    const mxcsr = this.processor.registerFile32(MXCSR)
    if (reason === HOST_EXIT_BUDGET) return { vector: 0, errorCode: 0, address: 0n, mxcsr }
    const f = this.processor.fault
    const address = (BigInt(f.addressHi >>> 0) << 32n) | BigInt(f.addressLo >>> 0)
    return { vector: f.vector, errorCode: f.errorCode, address, mxcsr }
  }

  restoreTiles(config: Uint8Array, data: Uint8Array): void {
    const { u8 } = this.host.machine.mem
    u8.set(config, this.processor.registerFile + TILECFG)
    u8.set(data, this.processor.registerFile + TILEDATA)
  }
  tileData(): Uint8Array {
    const { u8 } = this.host.machine.mem
    const at = this.processor.registerFile + TILEDATA
    return u8.slice(at, at + 8192)
  }
}
