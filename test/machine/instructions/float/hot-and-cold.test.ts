import { setFlagsFromString } from 'node:v8'
import { afterAll, describe, expect, it } from 'vitest'
import { HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { MXCSR } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'
import { iced } from '../../differential/forms.ts'
import { initialState } from '../../differential/initial-state.ts'
import { SYSCALL } from './assemble.ts'

const { Code, Instruction, Encoder, Register, OpKind } = iced

/**
 * Each operation runs over a table of operands with all special values among them: once (V8's baseline code), in a loop long
 * enough for V8 to optimize it, and compiled by the optimizing compiler from the start. Every result has to be the same.
 */
const OPERATIONS = {
  double:
    'Addsd Subsd Mulsd Divsd Minsd Maxsd Sqrtsd Addpd Mulpd Divpd Maxpd Sqrtpd Addsubpd Haddpd Unpcklpd Cvtpd2ps Cvtsd2ss Cvtpd2dq Cvttpd2dq ' +
    'VEX_Vaddpd VEX_Vmulpd VEX_Vfmadd213pd VEX_Vfnmsub231sd EVEX_Vaddpd EVEX_Vfmadd132pd',
  single:
    'Addss Subss Mulss Divss Minss Maxss Sqrtss Addps Subps Mulps Divps Minps Sqrtps Addsubps Haddps Cvtps2pd Cvtss2sd Cvtps2dq Cvttps2dq Cvtdq2ps ' +
    'VEX_Vsubps VEX_Vdivps VEX_Vfmadd213ps VEX_Vfmadd231ss EVEX_Vmulps EVEX_Vfnmadd213ps',
}
const TABLE = 0x20000
const RESULTS = 0x24000
const ROWS = 96

/** iced's code for a name, with the widest registers that it has. */
function codeOf(name: string): number {
  const found = Object.entries(Code).filter(([key]) =>
    new RegExp(`^${name}_([xyz]mm)(_k1z)?_(xmm_|ymm_|zmm_)?[xyz]mmm\\d+(b\\d+)?(_er|_sae)?$`).test(key),
  )
  if (found.length === 0) throw new Error(name)
  return found[found.length - 1][1] as number
}

/** op zmm1, [zmm2,] zmm3 with the registers of the code's operand classes. */
function encode(code: number): Uint8Array {
  const info = iced.CodeExt.opCode(code)
  const instruction = new Instruction()
  instruction.code = code
  const numbers = info.opCount === 2 ? [1, 2] : [1, 2, 3]
  for (let i = 0; i < info.opCount; i++) {
    const kind = iced.OpCodeOperandKind[info.opKind(i)]
    const base = kind.startsWith('zmm') ? Register.ZMM0 : kind.startsWith('ymm') ? Register.YMM0 : Register.XMM0
    instruction.setOpKind(i, OpKind.Register)
    instruction.setOpRegister(i, base + numbers[i])
  }
  const encoder = new Encoder(64)
  encoder.encode(instruction, 0n)
  return encoder.takeBuffer()
}

/** A loop over the rows: zmm1..zmm3 from rsi, the operation, zmm1 to rdi. */
function loopOver(operation: Uint8Array): number[] {
  const body = [
    ...[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x0e], // vmovups zmm1, [rsi]
    ...[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x56, 0x01], // vmovups zmm2, [rsi+64]
    ...[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x5e, 0x02], // vmovups zmm3, [rsi+128]
    ...operation,
    ...[0x62, 0xf1, 0x7c, 0x48, 0x11, 0x0f], // vmovups [rdi], zmm1
    ...[0x48, 0x83, 0xc6, 0x40, 0x48, 0x83, 0xc7, 0x40, 0x83, 0xe9, 0x01], // add rsi, 64; add rdi, 64; sub ecx, 1
  ]
  return [...body, 0x75, -(body.length + 2) & 0xff, ...SYSCALL]
}

class Runner {
  private readonly host = BareHost.withCode([])

  load(operation: Uint8Array, operands: Uint8Array): void {
    this.host.write(0x10000, loopOver(operation))
    this.host.write(TABLE, operands)
  }
  /** Results and MXCSR of one pass. */
  pass(): string {
    const { host } = this
    const processor = host.machine.processors[0]
    processor.setMxcsr(0x1fa0)
    host.ctx.rip = 0x10000n
    host.ctx.setReg(6, BigInt(TABLE))
    host.ctx.setReg(7, BigInt(RESULTS))
    host.ctx.setReg(1, BigInt(ROWS))
    expect(host.run(1_000_000)).toBe(HOST_EXIT_SYSCALL)
    return `${Buffer.from(host.read(RESULTS, ROWS * 64)).toString('hex')} ${processor.registerFile32(MXCSR).toString(16)}`
  }
}

const baseline = new Runner()
const optimized = new Runner()
afterAll(() => setFlagsFromString('--liftoff'))

describe.each(Object.entries(OPERATIONS))('%s precision', (filling, names) => {
  const memory = initialState(64, new Uint8Array(), 77, filling as 'single' | 'double', {}).memory.slice(0, (ROWS + 2) * 64)

  it.each(names.split(' '))('%s gives the same bits in baseline and optimized code', (name) => {
    const operation = encode(codeOf(name))
    setFlagsFromString('--liftoff')
    baseline.load(operation, memory)
    const first = baseline.pass()
    for (let i = 0; i < 60; i++) if (baseline.pass() !== first) expect.fail(`pass ${i} differs`)
    setFlagsFromString('--no-liftoff')
    optimized.load(operation, memory)
    for (let i = 0; i < 30; i++) expect(optimized.pass() === first).toBe(true)
  })
})
