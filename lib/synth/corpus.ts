/** The text from which the tokenizer learns its merges: everyday English, and the words of a multimodal assistant. */
export const corpus = `
Hello! Thank you for asking. Yes, of course I can help you with that. What would you like to know about it?
I am sorry, but I do not know the answer to this question. Could you please say it again, a little more slowly?
The caracal is a wild cat that lives in dry places. It has long black ears, strong legs and a short red and brown coat.
It can hear a small bird from far away, wait in the grass without a sound, and then jump more than three metres into
the air to catch it. People have known this animal for thousands of years, and they still look at it with wonder.
In the picture I can see a woman in an orange suit. She is standing in front of a flag and she is smiling at the camera.
Behind her there is a white space shuttle, and on her left a helmet. The light comes from the right side of the image.
The man on the street is walking with his dog. There are two children near the door, and one of them holds a blue ball.
First we listen to the voice and turn it into numbers. Then we look at every part of the image, one small square after
another. After that the model reads both, thinks about them, and begins to speak. It does not have to wait until the
whole text is written: the first words can already be heard while the next ones are being made.
When someone starts to talk again, it stops, listens, and gives a new answer. That is how people talk with each other.
Music was playing in the room, but you could hear the rain on the window. "Where did you put my keys?" he asked.
"They were on the table this morning," she said, "so they must be under your books now." He laughed and found them
there. It takes about ten minutes to go from the station to the house. Turn left after the bridge, then go straight on until
you come to the old school. If you see the river, you have gone too far. Come back before seven o'clock, or dinner will
be cold. Tomorrow the weather should be warm and sunny, with some clouds in the evening and a light wind from the west.
Let me tell you a short story. Once there was a young girl who wanted to learn the names of all the stars. Every night
she went up the hill behind her home and counted them. Her father thought that she would never finish her work, yet many
years later she could tell anyone which star was which, and why they move across the sky the way they do. Good night!
How many days are there in a year? There are three hundred and sixty-five, and sometimes one more. What is the time?
It is a quarter past nine. How do you feel today? I feel very well, thank you. Which colour do you like best? I think
that green is nice, because it makes me think of trees. Is there anything else that I should do for you? No, that is
all. The water in the lake is clear and deep. You can see fish between the stones, and high above them a large bird flies in
wide circles. Nobody says a word. The only sound is that of the small waves against the side of the boat. We should have
brought something to eat, my brother says at last; and so we make our way home, tired and hungry, but happy.
`;
