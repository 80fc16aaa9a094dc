import { intelXstate } from '../../../src/isa/cpu-models/xstate-geometry.ts'
import { xstateLayout } from '../../../src/isa/xstate-layout.ts'
import { MachineMemory } from '../../../src/machine/machine-memory.ts'
import * as map from '../../../src/machine/memory-map.ts'
import { PROCESSOR_BASE, SCRATCH_BASE } from '../../../src/machine/memory-map.ts'
import type { SupervisorState } from '../../../src/machine/xsave/extended-region.ts'
import { XSAVE } from '../../../src/machine/xsave/forms.ts'
import { XsaveEngine, type XsaveOptions } from '../../../src/machine/xsave/xsave-engine.ts'

/** Supervisor components as plain bytes; values whose first byte is 0xff are refused. */
export class SupervisorBytes implements SupervisorState {
  readonly bytes = new Map<number, Uint8Array>()
  private readonly memory: MachineMemory
  constructor(memory: MachineMemory) {
    this.memory = memory
  }
  isInit(nr: number): boolean {
    return !this.bytes.has(nr)
  }
  read(nr: number, destination: number): void {
    this.memory.u8.set(this.bytes.get(nr)!, destination)
  }
  accepts(_nr: number, source: number): boolean {
    return this.memory.u8[source] !== 0xff
  }
  write(nr: number, source: number): void {
    this.bytes.set(nr, this.memory.u8.slice(source, source + layout.sizes[nr]))
  }
  init(nr: number): void {
    this.bytes.delete(nr)
  }
}

/** The XSAVE geometry of Sapphire Rapids. */
export const layout = xstateLayout(intelXstate.filter((row) => [2, 5, 6, 7, 9, 10, 11, 12, 17, 18].includes(row.nr)))
export const IMAGE: number = SCRATCH_BASE
export const IMAGE_SIZE = 0x3000
const PROBE: number = SCRATCH_BASE + 0x4000

/** A register file with the XSAVE instructions, and a word for each register the tests look at. */
export class TestProcessor {
  readonly memory = new MachineMemory(0x10000)
  readonly supervisor = new SupervisorBytes(this.memory)
  readonly engine: XsaveEngine

  constructor(options: XsaveOptions = {}) {
    this.engine = new XsaveEngine(this.memory, PROCESSOR_BASE, layout, { supervisor: this.supervisor, ...options })
    this.xcr0 = 0x602e7
    this.xss = 0x1c00
    this.set(map.X87_FCW, 0x37f)
    this.set(map.MXCSR, 0x1f80)
  }

  private get(offset: number): number {
    return this.memory.view.getUint32(PROCESSOR_BASE + offset, true)
  }
  private set(offset: number, value: number): void {
    this.memory.view.setUint32(PROCESSOR_BASE + offset, value, true)
  }
  set xcr0(value: number) {
    this.set(map.XCR0, value)
  }
  set xss(value: number) {
    this.set(map.XSS, value)
  }
  set xfd(value: number) {
    this.set(map.XFD, value)
  }
  get xfdErr(): number {
    return this.get(map.XFD_ERR)
  }
  get mxcsr(): number {
    return this.get(map.MXCSR)
  }
  set mxcsr(value: number) {
    this.set(map.MXCSR, value)
  }
  get pkru(): number {
    return this.get(map.PKRU)
  }
  set pkru(value: number) {
    this.set(map.PKRU, value)
  }

  /** Fills registers of every component with the byte 0x10 + component, and gives tiles a configuration. */
  fillAll(): void {
    const { u8 } = this.memory
    u8.fill(0x10, PROCESSOR_BASE + map.X87_REGISTERS, PROCESSOR_BASE + map.X87_REGISTERS + 10)
    for (let r = 0; r < 32; r++) {
      const at = PROCESSOR_BASE + map.VECTOR + 64 * r
      if (r >= 16) u8.fill(0x17, at, at + 64)
      else {
        u8.fill(0x11, at, at + 16)
        u8.fill(0x12, at + 16, at + 32)
        u8.fill(0x16, at + 32, at + 64)
      }
    }
    u8.fill(0x15, PROCESSOR_BASE + map.OPMASK, PROCESSOR_BASE + map.OPMASK + 64)
    this.pkru = 0x19191919
    u8.set([1, 0], PROCESSOR_BASE + map.TILECFG)
    u8[PROCESSOR_BASE + map.TILECFG + 16] = 64
    u8[PROCESSOR_BASE + map.TILECFG + 48] = 16
    u8.fill(0x22, PROCESSOR_BASE + map.TILEDATA, PROCESSOR_BASE + map.TILEDATA + 8192)
  }

  // ---- the image ----
  clearImage(fill = 0): void {
    this.memory.u8.fill(fill, IMAGE, IMAGE + IMAGE_SIZE)
    this.header(0n, 0n)
  }
  header(xstateBv: bigint, xcompBv: bigint): void {
    this.memory.u8.fill(0, IMAGE + 512, IMAGE + 576)
    this.memory.setU64At(IMAGE + 512, xstateBv)
    this.memory.setU64At(IMAGE + 520, xcompBv)
  }
  get xstateBv(): bigint {
    return this.memory.u64At(IMAGE + 512)
  }
  get xcompBv(): bigint {
    return this.memory.u64At(IMAGE + 520)
  }
  byte(offset: number): number {
    return this.memory.u8[IMAGE + offset]
  }
  setByte(offset: number, value: number): void {
    this.memory.u8[IMAGE + offset] = value
  }
  setWord(offset: number, value: number): void {
    this.memory.view.setUint32(IMAGE + offset, value, true)
  }

  /** Everything XSAVE can see, as a string: for "nothing has changed". */
  snapshot(): string {
    this.memory.u8.fill(0, PROBE, PROBE + IMAGE_SIZE)
    const xfd = this.get(map.XFD)
    this.xfd = 0
    this.engine.save(PROBE, -1, XSAVE)
    this.xfd = xfd
    const supervisor = [...this.supervisor.bytes].map(([nr, bytes]) => `${nr}:${bytes}`).join()
    return `${Buffer.from(this.memory.u8.subarray(PROBE, PROBE + IMAGE_SIZE)).toString('base64')} ${supervisor}`
  }
}
