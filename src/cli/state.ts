import type { ProgramHost } from './program-host.ts'

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
const hex = (value: bigint): string => value.toString(16).padStart(16, '0')

/** Where every task is: its registers as they were last, in the user's mode. */
export function describeState({ kernel, machine }: ProgramHost): string {
  const lines = [`  ${machine.retired} instructions retired`]
  for (const task of kernel.tasks.values()) {
    const { context } = task
    lines.push(`  task ${task.tid} (${task.comm}): rip ${hex(context.rip)} rflags ${context.rflags.toString(16)}`)
    for (let r = 0; r < 16; r += 4) {
      lines.push(`    ${[0, 1, 2, 3].map((i) => `${NAMES[r + i].padEnd(3)} ${hex(context.reg(r + i))}`).join('  ')}`)
    }
  }
  return `${lines.join('\n')}\n`
}
