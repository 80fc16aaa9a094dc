import { expect, test } from 'vitest'
import { CET_FAR, CET_IBT_SOURCE, CET_USES_SHADOW_STACK, cetUseAtRip } from '../../../src/machine/cet-instructions.ts'
import { GuestCet } from './cet-machine.ts'
import { addressOf } from './code-image.ts'

const guest = new GuestCet(0)
function useOf(bytes: readonly number[]): string {
  for (const [i, byte] of bytes.entries()) guest.setByte(0x28000 + i, byte)
  guest.ctx.rip = 0x28000n
  return names(cetUseAtRip(guest.processor, guest.vmcs))
}
const names = (use: number): string =>
  [use & CET_USES_SHADOW_STACK ? 'shadow stack' : '', use & CET_IBT_SOURCE ? 'IBT source' : '', use & CET_FAR ? 'far' : '']
    .filter((name) => name !== '')
    .join(', ')

/** KVM 6.18, arch/x86/kvm/emulate.c: the opcodes marked ShadowStack, and those is_ibt_instruction() takes. */
test.each([
  ['call rel32', [0xe8, 0, 0, 0, 0], 'shadow stack'],
  ['call rax', [0xff, 0xd0], 'shadow stack, IBT source'],
  ['call [rax]', [0xff, 0x10], 'shadow stack, IBT source'],
  ['ret', [0xc3], 'shadow stack'],
  ['ret 8', [0xc2, 8, 0], 'shadow stack'],
  ['jmp rel8', [0xeb, 0], ''],
  ['jz rel8', [0x74, 0], ''],
  ['jmp rax', [0xff, 0xe0], 'IBT source'],
  ['notrack jmp rax', [0x3e, 0xff, 0xe0], 'IBT source'],
  ['jmp [rax]', [0xff, 0x20], 'IBT source'],
  ['jmp far m16:16', [0x66, 0xff, 0x28], 'IBT source, far'],
  ['jmp far m16:32', [0xff, 0x28], 'IBT source, far'],
  ['jmp far m16:64', [0x48, 0xff, 0x28], 'IBT source, far'],
  ['call far m16:64', [0x48, 0xff, 0x18], 'shadow stack, IBT source, far'],
  ['retf', [0xcb], 'shadow stack, far'],
  ['iretq', [0x48, 0xcf], 'shadow stack, far'],
  ['int 0x80', [0xcd, 0x80], 'shadow stack, IBT source, far'],
  ['int3', [0xcc], 'shadow stack, IBT source, far'],
  ['syscall', [0x0f, 0x05], 'shadow stack, IBT source, far'],
  ['sysenter', [0x0f, 0x34], 'shadow stack, IBT source, far'],
  ['sysexit', [0x0f, 0x35], 'shadow stack, far'],
  ['mov eax, [0]', [0x8b, 0x04, 0x25, 0, 0, 0, 0], ''],
  ['no instruction', [0x06], ''],
] as const)('%s: what a hypervisor must emulate of CET [CET-24]', (_name, bytes, use) => {
  expect(useOf(bytes)).toBe(use)
})

test('the instruction may cross a page; one that cannot be fetched needs nothing [CET-24]', () => {
  for (const [i, byte] of [0xff, 0x14, 0x25, 0, 0, 2, 0].entries()) guest.setByte(0x28ffd + i, byte)
  guest.ctx.rip = 0x28ffdn
  expect(names(cetUseAtRip(guest.processor, guest.vmcs))).toBe('shadow stack, IBT source')
  guest.ctx.rip = 0x7000000n
  expect(cetUseAtRip(guest.processor, guest.vmcs)).toBe(0)
  guest.ctx.rip = BigInt(addressOf('do_iretq'))
  expect(names(cetUseAtRip(guest.processor, guest.vmcs))).toBe('shadow stack, far')
})
