import { ENOMEM } from '../errno.ts'
import type { OpenFile } from '../file.ts'
import { pageAlignDown, pageAlignUp, STACK_TOP } from '../mm/layout.ts'
import { mapKernelChosen } from '../mm/mmap.ts'
import { PROT_WRITE } from '../mm/vma.ts'
import type { Task } from '../task.ts'
import type { ElfProgram, LoadSegment } from './elf.ts'
import { ProgramError } from './program-error.ts'

const INITIAL_STACK = 0x21000

/** Maps a checked program and its stack into the task's (fresh) address space. Throws ProgramError. */
export function mapProgram(task: Task, file: OpenFile, path: string, program: ElfProgram): void {
  const { mm } = task
  const noMemory = (): never => {
    throw new ProgramError('no-memory', path, 'not enough memory to load it', -ENOMEM)
  }
  for (const segment of program.segments) if (!mapSegment(task, file, segment, program.bias)) noMemory()
  mm.brkStart = program.end
  mm.brk = program.end
  const prot = program.executableStack ? 7 : 3
  if (mapKernelChosen(task, { start: STACK_TOP - INITIAL_STACK, end: STACK_TOP, prot, growsDown: true, name: '[stack]' }) < 0)
    noMemory()
}

/** Private file pages, then anonymous ones for what is not in the file; the rest of the last file page is zeroed. */
function mapSegment(task: Task, file: OpenFile, segment: LoadSegment, bias: number): boolean {
  const { mm } = task
  const { prot } = segment
  const start = pageAlignDown(segment.address + bias)
  const fileEnd = segment.address + bias + segment.fileSize
  const memoryEnd = pageAlignUp(segment.address + bias + segment.memorySize)
  const mappedEnd = segment.fileSize > 0 ? pageAlignUp(fileEnd) : start
  if (segment.fileSize > 0) {
    const sourcePage = pageAlignDown(segment.offset) / 4096
    if (mapKernelChosen(task, { start, end: mappedEnd, prot, file, sourcePage, name: file.name }) < 0) return false
  }
  if (memoryEnd > mappedEnd && mapKernelChosen(task, { start: mappedEnd, end: memoryEnd, prot }) < 0) return false
  const tail = mappedEnd - fileEnd
  // Without write permission the tail keeps the file's bytes, as on Linux.
  if (segment.memorySize > segment.fileSize && tail > 0 && tail < 4096 && (prot & PROT_WRITE) !== 0)
    return mm.clearUser(fileEnd, tail)
  return true
}
