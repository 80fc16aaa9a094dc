import { iced } from '../../differential/forms.ts'

const { Encoder, Instruction, Register } = iced

type Operand = number | { at: number } | { imm: number }

/** One instruction: registers are iced's numbers, memory is absolute, at most one immediate, last. */
export function instruction(code: number, ...operands: Operand[]): Uint8Array {
  const i = new Instruction()
  i.code = code
  operands.forEach((operand, n) => {
    if (typeof operand === 'number') {
      i.setOpKind(n, iced.OpKind.Register)
      i.setOpRegister(n, operand)
    } else if ('at' in operand) {
      i.setOpKind(n, iced.OpKind.Memory)
      i.memoryDisplacement = BigInt(operand.at)
      i.memoryDisplSize = 4
      i.memoryBase = Register.None
    } else {
      i.setOpKind(n, iced.OpKind.Immediate8)
      i.immediate8 = operand.imm
    }
  })
  const encoder = new Encoder(64)
  encoder.encode(i, 0x10000n)
  const bytes = encoder.takeBuffer()
  encoder.free()
  i.free()
  return bytes
}

export const SYSCALL = [0x0f, 0x05, 0x0f, 0x0b]
